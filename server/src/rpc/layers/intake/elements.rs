//! How many elements an encoded request has: every message within it, and every repeated text or byte string. What an element
//! takes in memory may be many times what it takes on the wire, so they are counted before they are decoded.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::LazyLock,
};

use bytes::{Buf as _, Bytes};
use posthouse_proto::FILE_DESCRIPTOR_SET;
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Label};

use crate::{limits::MAX_ELEMENTS, policy::Method, rpc::layers::intake::Fault};

/// Deepest nesting that is looked into; the library decodes no deeper.
const MAX_DEPTH: usize = 100;

/// Which fields of a message are elements.
#[derive(Debug, Default)]
struct Shape {
    /// By their number; the type of those that are messages which may hold any number of others. A message without such fields is
    /// one element: what of it comes twice takes the place of what came before.
    fields: Vec<(u32, Option<String>)>,
}

/// The shapes of the schema.
struct Schema {
    /// By the method's path, the type of its request.
    requests: HashMap<String, String>,
    shapes: HashMap<String, Shape>,
    /// Types with repeated fields.
    growing: HashSet<String>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);

/// How many elements the request of this method has. The schema of what needs no token (the health service) is not ours: its one
/// field is no element. A request of any other method whose schema is not known is not decoded.
pub(super) fn count(method: &Method, request: &Bytes) -> Result<usize, Fault> {
    if method.opened_by().is_none() {
        return Ok(0);
    }
    let shape = SCHEMA.requests.get(method.path).and_then(|name| SCHEMA.shapes.get(name));
    let mut count = 0;
    shape.ok_or(Fault::Undecodable)?.count(request, MAX_DEPTH, &mut count)?;
    Ok(count)
}

impl Shape {
    fn count(&self, mut encoded: &[u8], depth: usize, count: &mut usize) -> Result<(), Fault> {
        while !encoded.is_empty() {
            let (field, wire_type) = decode_key(&mut encoded).map_err(|_| Fault::Undecodable)?;
            if wire_type != WireType::LengthDelimited {
                let skipped = skip_field(wire_type, field, &mut encoded, DecodeContext::default());
                skipped.map_err(|_| Fault::Undecodable)?;
                continue;
            }
            let length = decode_varint(&mut encoded).ok().and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= encoded.len()).ok_or(Fault::Undecodable)?;
            let (element, rest) = encoded.split_at(length);
            encoded = rest;
            let Some((_, of)) = self.fields.iter().find(|(number, _)| *number == field) else { continue };
            *count += 1;
            if *count > MAX_ELEMENTS {
                return Err(Fault::TooManyElements);
            }
            if let Some(shape) = of.as_ref().and_then(|name| SCHEMA.shapes.get(name))
                && element.has_remaining()
            {
                shape.count(element, depth.checked_sub(1).ok_or(Fault::Undecodable)?, count)?;
            }
        }
        Ok(())
    }
}

impl Schema {
    fn read() -> Self {
        // It was encoded by the build; a test sees to it that every method is in it.
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut schema = Self { requests: HashMap::new(), shapes: HashMap::new(), growing: HashSet::new() };
        for file in files.file {
            let package = format!(".{}", file.package());
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    schema.requests.insert(path, method.input_type().to_owned());
                }
            }
            file.message_type.iter().for_each(|message| schema.add(&package, message));
        }
        schema.keep_what_grows();
        schema
    }

    /// Leaves the types only of messages that hold others without a bound, at whatever depth.
    fn keep_what_grows(&mut self) {
        let mut growing = mem::take(&mut self.growing);
        let holds = |shape: &Shape, growing: &HashSet<String>| {
            shape.fields.iter().any(|(_, of)| of.as_ref().is_some_and(|of| growing.contains(of)))
        };
        loop {
            let found =
                self.shapes.iter().filter(|(name, shape)| !growing.contains(*name) && holds(shape, &growing));
            let more: Vec<_> = found.map(|(name, _)| name.clone()).collect();
            if more.is_empty() {
                break;
            }
            growing.extend(more);
        }
        for (_, of) in self.shapes.values_mut().flat_map(|shape| &mut shape.fields) {
            *of = of.take().filter(|of| growing.contains(of));
        }
    }

    fn add(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        let element = |field: &prost_types::FieldDescriptorProto| {
            let of = field
                .type_name
                .clone()
                .filter(|_| field.r#type() == prost_types::field_descriptor_proto::Type::Message);
            let is_element = of.is_some() || field.label() == Label::Repeated;
            is_element.then(|| (u32::try_from(field.number()).unwrap_or(0), of))
        };
        let fields = message.field.iter().filter_map(element).collect();
        message.nested_type.iter().for_each(|nested| self.add(&name, nested));
        if message.field.iter().any(|field| field.label() == Label::Repeated) {
            self.growing.insert(name.clone());
        }
        self.shapes.insert(name, Shape { fields });
    }
}

#[cfg(test)]
mod tests {
    use posthouse_proto::v1::{
        ConsumeRequest, ExtendFrame, NewMessage, PublishRequest, PublishStreamRequest,
        RedriveDeadLettersRequest, SettleFrame, Settlement, UpdateQueueRequest, consume_request,
        publish_stream_request::{self, Batch},
    };

    use super::*;
    use crate::policy::{Rpc, methods};

    fn count_in<M: Rpc>(_: M, request: &impl prost::Message) -> Result<usize, Fault> {
        count(&M::METHOD, &request.encode_to_vec().into())
    }

    fn message(attributes: usize) -> NewMessage {
        let attributes = (0..attributes).map(|number| (number.to_string(), String::new()));
        NewMessage { attributes: attributes.collect(), payload: vec![18; 300].into() }
    }

    #[test]
    fn every_method_but_those_of_health_has_a_schema() {
        for method in methods::TABLE {
            let of_health = method.path.starts_with("/grpc.health.v1.");
            let known = SCHEMA.requests.get(method.path).is_some_and(|name| SCHEMA.shapes.contains_key(name));
            assert_eq!(known, !of_health, "{}", method.path);
        }
    }

    #[test]
    fn elements_are_counted_at_every_depth() {
        let messages = vec![message(3), message(0), message(5)];
        let publish = PublishRequest { messages: messages.clone(), ..PublishRequest::default() };
        assert_eq!(count_in(methods::Publish, &publish), Ok(3 + 8));
        let batch = Batch { messages, ..Batch::default() };
        let frame = Some(publish_stream_request::Frame::Batch(batch));
        assert_eq!(count_in(methods::PublishStream, &PublishStreamRequest { frame }), Ok(1 + 3 + 8));
        let settlement =
            Settlement { delay: Some(prost_types::Duration::default()), ..Settlement::default() };
        let settle = SettleFrame { settlements: vec![settlement; 7], ..SettleFrame::default() };
        let frame = Some(consume_request::Frame::Settle(settle));
        // A delay is a part of its settlement, as often as it stands there.
        assert_eq!(count_in(methods::Consume, &ConsumeRequest { frame }), Ok(1 + 7));
        let extend = ExtendFrame { tokens: vec![vec![1; 20].into(); 9], ..ExtendFrame::default() };
        let frame = Some(consume_request::Frame::Extend(extend));
        assert_eq!(count_in(methods::Consume, &ConsumeRequest { frame }), Ok(1 + 9));
        let redrive = RedriveDeadLettersRequest {
            message_ids: vec![String::new(); 4],
            ..RedriveDeadLettersRequest::default()
        };
        assert_eq!(count_in(methods::RedriveDeadLetters, &redrive), Ok(4));
        let mask = prost_types::FieldMask { paths: vec!["a".to_owned(); 6] };
        let update = UpdateQueueRequest { update_mask: Some(mask), ..UpdateQueueRequest::default() };
        assert_eq!(count_in(methods::UpdateQueue, &update), Ok(1 + 6));
    }

    #[test]
    fn what_is_repeated_although_it_may_not_be_is_counted_too() {
        // The library merges them.
        let frame = Some(publish_stream_request::Frame::Batch(Batch::default()));
        let one = PublishStreamRequest { frame }.encode_to_vec();
        let count = |times| count(&methods::PublishStream::METHOD, &one.repeat(times).into());
        assert_eq!(count(MAX_ELEMENTS), Ok(MAX_ELEMENTS));
        assert_eq!(count(MAX_ELEMENTS + 1), Err(Fault::TooManyElements));
    }

    #[test]
    fn the_largest_batch_with_all_its_attributes_is_not_too_much() {
        use crate::limits::{MAX_ATTRIBUTES, MAX_PUBLISH_MESSAGES};
        let messages =
            vec![NewMessage { payload: Bytes::new(), ..message(MAX_ATTRIBUTES) }; MAX_PUBLISH_MESSAGES];
        let request = PublishRequest { messages, ..PublishRequest::default() };
        assert_eq!(count_in(methods::Publish, &request), Ok(MAX_PUBLISH_MESSAGES * (MAX_ATTRIBUTES + 1)));
        let empty = [0x12, 0].repeat(2 << 20);
        assert_eq!(count(&methods::Publish::METHOD, &empty.into()), Err(Fault::TooManyElements));
    }

    #[test]
    fn what_the_library_skips_is_skipped_and_what_it_refuses_is_refused() {
        let count = |bytes: &[u8]| count(&methods::Publish::METHOD, &Bytes::copy_from_slice(bytes));
        // A varint, a group, and a text of fields that nobody knows.
        assert_eq!(
            count(&[0xf8, 0x07, 0x01, 0xf3, 0x07, 0xf4, 0x07, 0xfa, 0x07, 0x01, 0x12, 0x12, 0x00]),
            Ok(1)
        );
        for broken in [&[0x12][..], &[0x12, 5, 0], &[0xf3, 0x07], &[0x00, 0x00], &[0xff; 11]] {
            assert_eq!(count(broken), Err(Fault::Undecodable), "{broken:?}");
            PublishRequest::decode(broken).unwrap_err();
        }
    }
}

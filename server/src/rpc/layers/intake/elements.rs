//! Counts the elements of an encoded request: the messages within it, and its repeated texts and byte strings. An
//! element may have many more bytes in memory than on the wire, so elements are counted before they are decoded.

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

use crate::{limits::MAX_ELEMENTS, policy::Method, rpc::layers::intake::RequestFault};

/// Maximum depth of nested messages; the library decodes no deeper.
const MAX_DEPTH: usize = 100;

/// The fields of a type that are elements.
#[derive(Debug, Default)]
struct Shape {
    /// Each field's number, and its type if that is unbounded, so that its elements are counted too. A message of any
    /// other type is one element: a field that comes twice replaces the first.
    fields: Vec<(u32, Option<String>)>,
}

/// The shapes of the schema's types.
struct Schema {
    /// By the method's path, the type of its request.
    requests: HashMap<String, String>,
    shapes: HashMap<String, Shape>,
    /// Types with repeated fields.
    unbounded: HashSet<String>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);

/// How many elements a request of this method has. Methods that need no token are those of the health service, whose
/// requests have no elements. For any other method without a schema, the request is refused.
pub(super) fn count(method: &Method, request: &Bytes) -> Result<usize, RequestFault> {
    if method.opened_by().is_none() {
        return Ok(0);
    }
    let shape = SCHEMA.requests.get(method.path).and_then(|name| SCHEMA.shapes.get(name));
    let mut count = 0;
    shape.ok_or(RequestFault::Undecodable)?.count(request, MAX_DEPTH, &mut count)?;
    Ok(count)
}

impl Shape {
    fn count(&self, mut encoded: &[u8], depth: usize, count: &mut usize) -> Result<(), RequestFault> {
        while !encoded.is_empty() {
            let (field, wire_type) = decode_key(&mut encoded).map_err(|_| RequestFault::Undecodable)?;
            if wire_type != WireType::LengthDelimited {
                let skipped = skip_field(wire_type, field, &mut encoded, DecodeContext::default());
                skipped.map_err(|_| RequestFault::Undecodable)?;
                continue;
            }
            let length = decode_varint(&mut encoded).ok().and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= encoded.len()).ok_or(RequestFault::Undecodable)?;
            let (element, rest) = encoded.split_at(length);
            encoded = rest;
            let Some((_, of)) = self.fields.iter().find(|(number, _)| *number == field) else { continue };
            *count += 1;
            if *count > MAX_ELEMENTS {
                return Err(RequestFault::TooManyElements);
            }
            if let Some(shape) = of.as_ref().and_then(|name| SCHEMA.shapes.get(name))
                && element.has_remaining()
            {
                shape.count(element, depth.checked_sub(1).ok_or(RequestFault::Undecodable)?, count)?;
            }
        }
        Ok(())
    }
}

impl Schema {
    fn read() -> Self {
        // The build has encoded it, and a test checks that every method is in it.
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut schema = Self { requests: HashMap::new(), shapes: HashMap::new(), unbounded: HashSet::new() };
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
        schema.remove_bounded();
        schema
    }

    /// Removes the types of fields that can have no repeated field at any depth.
    fn remove_bounded(&mut self) {
        let mut unbounded = mem::take(&mut self.unbounded);
        let contains = |shape: &Shape, unbounded: &HashSet<String>| {
            shape.fields.iter().any(|(_, of)| of.as_ref().is_some_and(|of| unbounded.contains(of)))
        };
        loop {
            let shapes = self.shapes.iter();
            let found =
                shapes.filter(|(name, shape)| !unbounded.contains(*name) && contains(shape, &unbounded));
            let more: Vec<_> = found.map(|(name, _)| name.clone()).collect();
            if more.is_empty() {
                break;
            }
            unbounded.extend(more);
        }
        for (_, of) in self.shapes.values_mut().flat_map(|shape| &mut shape.fields) {
            *of = of.take().filter(|of| unbounded.contains(of));
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
            self.unbounded.insert(name.clone());
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

    fn count_in<M: Rpc>(_: M, request: &impl prost::Message) -> Result<usize, RequestFault> {
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
        // A delay is a part of its settlement, however often it is repeated.
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
        // The library merges repeated messages of a field that is not repeated.
        let frame = Some(publish_stream_request::Frame::Batch(Batch::default()));
        let one = PublishStreamRequest { frame }.encode_to_vec();
        let count = |times| count(&methods::PublishStream::METHOD, &one.repeat(times).into());
        assert_eq!(count(MAX_ELEMENTS), Ok(MAX_ELEMENTS));
        assert_eq!(count(MAX_ELEMENTS + 1), Err(RequestFault::TooManyElements));
    }

    #[test]
    fn the_largest_batch_with_all_its_attributes_is_not_too_much() {
        use crate::limits::{MAX_ATTRIBUTES, MAX_PUBLISH_MESSAGES};
        let messages =
            vec![NewMessage { payload: Bytes::new(), ..message(MAX_ATTRIBUTES) }; MAX_PUBLISH_MESSAGES];
        let request = PublishRequest { messages, ..PublishRequest::default() };
        assert_eq!(count_in(methods::Publish, &request), Ok(MAX_PUBLISH_MESSAGES * (MAX_ATTRIBUTES + 1)));
        let empty = [0x12, 0].repeat(2 << 20);
        assert_eq!(count(&methods::Publish::METHOD, &empty.into()), Err(RequestFault::TooManyElements));
    }

    #[test]
    fn what_the_library_skips_is_skipped_and_what_it_refuses_is_refused() {
        let count = |bytes: &[u8]| count(&methods::Publish::METHOD, &Bytes::copy_from_slice(bytes));
        // A varint, a group, and a text, of fields that are not in the schema; then one message.
        assert_eq!(
            count(&[0xf8, 0x07, 0x01, 0xf3, 0x07, 0xf4, 0x07, 0xfa, 0x07, 0x01, 0x12, 0x12, 0x00]),
            Ok(1)
        );
        for broken in [&[0x12][..], &[0x12, 5, 0], &[0xf3, 0x07], &[0x00, 0x00], &[0xff; 11]] {
            assert_eq!(count(broken), Err(RequestFault::Undecodable), "{broken:?}");
            PublishRequest::decode(broken).unwrap_err();
        }
    }
}

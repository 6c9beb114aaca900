//! Translates values between the types of the schema and those of the engine: times, messages and their ids, results of
//! publishes, and in the modules below tokens, settlements and views.

mod leases;
mod views;

use std::{collections::HashMap, sync::Arc};

use posthouse_engine::{
    ids::{LANES, QueueRef},
    message_id,
    outcome::{EntryResult, Published},
    schema::PublishEntry,
};
use posthouse_proto::{
    google::rpc,
    v1::{self, ErrorReason, PublishResult, publish_result},
};
use prost_types::{Duration, Timestamp};
use tonic::Code;

pub(crate) use leases::{
    TOKEN_BYTES, extend_result, refused_extension, settle_kind, settle_result, token, token_ref,
};
pub(crate) use views::{dead_letter, message_status, queue, queue_uid, stats};

use crate::{content, limits, rpc::wire::status::ApiError};

/// Unix milliseconds as a timestamp.
pub(crate) fn timestamp(ms: u64) -> Timestamp {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: i32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000 }
}

/// Milliseconds as a duration.
pub(crate) fn duration(ms: u64) -> Duration {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    Duration { seconds, nanos: i32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000 }
}

/// A duration in whole milliseconds, if it is within `range`.
pub(crate) fn millis(
    field: &'static str,
    duration: &Duration,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ApiError> {
    let nanos = u64::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let exact = u64::try_from(duration.seconds).ok().zip(nanos);
    let ms = exact.and_then(|(s, n)| s.checked_mul(1_000)?.checked_add(n / 1_000_000));
    ms.filter(|ms| range.contains(ms)).ok_or_else(|| {
        let text =
            format!("must be {} ms to {} ms, with nanos of 0 to 999999999", range.start(), range.end());
        ApiError::field(ErrorReason::RequestInvalid, field, text).with_limit(range.end())
    })
}

/// A message as an entry of an engine command. An error refuses this message only, not its batch.
pub(crate) fn publish_entry(
    message: v1::NewMessage,
    max_message_bytes: u32,
) -> Result<PublishEntry, ApiError> {
    let payload_bytes = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
    if payload_bytes > max_message_bytes {
        let text =
            format!("the payload has {payload_bytes} bytes; this queue takes at most {max_message_bytes}");
        let error = ApiError::new(Code::InvalidArgument, ErrorReason::MessageTooLarge, text);
        return Err(error.with_limit(max_message_bytes));
    }
    check_attributes(&message.attributes)?;
    let v1::NewMessage { payload, attributes, .. } = message;
    let content_head = content::encode_head(attributes, &payload);
    Ok(PublishEntry { content_head, content: payload, payload_bytes, refused: false })
}

/// The entry of a refused message, which makes it use up its producer sequence.
pub(crate) fn refused_entry() -> PublishEntry {
    PublishEntry { refused: true, ..PublishEntry::default() }
}

fn check_attributes(attributes: &HashMap<String, String>) -> Result<(), ApiError> {
    let wrong = |text: String, limit: usize| {
        let error = ApiError::new(Code::InvalidArgument, ErrorReason::AttributesInvalid, text);
        Err(error.with_limit(limit))
    };
    if attributes.len() > limits::MAX_ATTRIBUTES {
        let max = limits::MAX_ATTRIBUTES;
        return wrong(format!("there are {} attributes; at most {max}", attributes.len()), max);
    }
    for (key, value) in attributes {
        if key.is_empty() || key.len() > limits::MAX_ATTRIBUTE_KEY_BYTES {
            let max = limits::MAX_ATTRIBUTE_KEY_BYTES;
            return wrong(format!("an attribute's key has {} bytes; it takes 1 to {max}", key.len()), max);
        }
        if value.len() > limits::MAX_ATTRIBUTE_VALUE_BYTES {
            let max = limits::MAX_ATTRIBUTE_VALUE_BYTES;
            return wrong(format!("an attribute's value has {} bytes; at most {max}", value.len()), max);
        }
    }
    Ok(())
}

/// Bytes of a message's id.
pub(crate) const MESSAGE_ID_BYTES: usize = message_id::TEXT_BYTES;

/// The id of a message, as ASCII.
pub(crate) fn message_id_text(queue: QueueRef, sequence: u64) -> [u8; MESSAGE_ID_BYTES] {
    let [lane] = LANES;
    message_id::text(queue, lane, sequence)
}

/// The id of a message.
pub(crate) fn message_id(queue: QueueRef, sequence: u64) -> String {
    let [lane] = LANES;
    message_id::encode(queue, lane, sequence)
}

/// The queue and sequence of the message of this id. The error names the field that held the id.
pub(crate) fn message_at(field: &str, id: &str) -> Result<(QueueRef, u64), ApiError> {
    let [only] = LANES;
    let found = message_id::decode(id).filter(|(_, lane, _)| *lane == only);
    found.map(|(queue, _, sequence)| (queue, sequence)).ok_or_else(|| {
        let text = "this is no id of a message; send it back as it was given out";
        ApiError::field(ErrorReason::RequestInvalid, field.to_owned(), text)
    })
}

/// The results of a publish, in the order of its messages; `errors` holds those of the refused messages, in order.
pub(crate) fn publish_results(
    queue: QueueRef,
    published: &Published,
    errors: &[Arc<ApiError>],
) -> Vec<PublishResult> {
    let (mut errors, mut last) = (errors.iter(), None::<(&Arc<ApiError>, rpc::Status)>);
    let mut result = |entry: &EntryResult| {
        let result = match *entry {
            EntryResult::Stored(sequence) => {
                let message_id = message_id(queue, sequence);
                publish_result::Result::Stored(publish_result::Stored { message_id, sequence })
            }
            EntryResult::Duplicate(sequence) => {
                publish_result::Result::Duplicate(publish_result::Duplicate {
                    message_id: sequence.map(|s| message_id(queue, s)).unwrap_or_default(),
                    sequence: sequence.unwrap_or(0),
                })
            }
            EntryResult::Refused => {
                let status = match (errors.next(), &last) {
                    (None, _) => ApiError::fault("a refused message has no error").to_proto(),
                    // Mostly a refused message has the error of the one before.
                    (Some(error), Some((known, status))) if Arc::ptr_eq(error, known) => status.clone(),
                    (Some(error), _) => last.insert((error, error.to_proto())).1.clone(),
                };
                publish_result::Result::Error(status)
            }
        };
        PublishResult { result: Some(result) }
    };
    published.results.iter().map(&mut result).collect()
}

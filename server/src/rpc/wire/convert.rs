//! The only translator between wire types and engine types.

mod standing;

use std::{collections::HashMap, sync::Arc};

use posthouse_engine::{
    ids::{DEFAULT_LANE, LeaseId, QueueRef},
    message_id,
    outcome::{EntryResult, ExtendOutcome, LiveDelivery, Published, QueueView, SettleOutcome},
    schema::{PublishEntry, QueueSettings, SettleKind, TokenRef},
};
use posthouse_proto::{
    google::rpc,
    v1::{
        self, ErrorReason, ExtendResult, PublishResult, SettleAction, SettleResult, extend_result,
        publish_result, settle_result,
    },
};
use prost_types::{Duration, Timestamp};
use tonic::Code;

pub(crate) use standing::{dead_letter, message_status, stats};

use crate::{clock::Now, content, limits, names::QueueResource, rpc::wire::status::ApiError};

/// Lease 8, index 4, nonce 8 bytes, big-endian.
pub(crate) const TOKEN_BYTES: usize = 20;

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

/// A duration in whole milliseconds, if it lies within `range`.
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

/// A message as the machine takes it; the error is the message's own and spoils no neighbour.
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

/// What stands for a refused message, so that it takes its producer sequence.
pub(crate) fn refused_entry() -> PublishEntry {
    PublishEntry { refused: true, ..PublishEntry::default() }
}

fn check_attributes(attributes: &HashMap<String, String>) -> Result<(), ApiError> {
    let wrong = |text: String, most: usize| {
        let error = ApiError::new(Code::InvalidArgument, ErrorReason::AttributesInvalid, text);
        Err(error.with_limit(most))
    };
    if attributes.len() > limits::MAX_ATTRIBUTES {
        let most = limits::MAX_ATTRIBUTES;
        return wrong(format!("there are {} attributes; at most {most}", attributes.len()), most);
    }
    for (key, value) in attributes {
        if key.is_empty() || key.len() > limits::MAX_ATTRIBUTE_KEY_BYTES {
            let most = limits::MAX_ATTRIBUTE_KEY_BYTES;
            return wrong(format!("an attribute's key has {} bytes; it takes 1 to {most}", key.len()), most);
        }
        if value.len() > limits::MAX_ATTRIBUTE_VALUE_BYTES {
            let most = limits::MAX_ATTRIBUTE_VALUE_BYTES;
            return wrong(format!("an attribute's value has {} bytes; at most {most}", value.len()), most);
        }
    }
    Ok(())
}

/// Bytes of a message's id.
pub(crate) const MESSAGE_ID_BYTES: usize = message_id::TEXT_BYTES;

/// The id of a message, as ASCII.
pub(crate) fn message_id_text(queue: QueueRef, sequence: u64) -> [u8; MESSAGE_ID_BYTES] {
    message_id::text(queue, DEFAULT_LANE, sequence)
}

/// The id of a message.
pub(crate) fn message_id(queue: QueueRef, sequence: u64) -> String {
    message_id::encode(queue, DEFAULT_LANE, sequence)
}

/// Where the message of this id stands; the error names the field that held it.
pub(crate) fn message_at(field: &str, id: &str) -> Result<(QueueRef, u64), ApiError> {
    let found = message_id::decode(id).filter(|(_, lane, _)| *lane == DEFAULT_LANE);
    found.map(|(queue, _, sequence)| (queue, sequence)).ok_or_else(|| {
        let text = "this is no id of a message; send it back as it was given out";
        ApiError::field(ErrorReason::RequestInvalid, field.to_owned(), text)
    })
}

/// The answers to a publish, in order; `errors` holds those of the refused entries, in order.
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
                    // Mostly it is that of the message before.
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

/// A delivery's token.
pub(crate) fn token(delivery: &LiveDelivery) -> [u8; TOKEN_BYTES] {
    let mut token = [0; TOKEN_BYTES];
    token[..8].copy_from_slice(&delivery.lease.0.to_be_bytes());
    token[8..12].copy_from_slice(&delivery.item.index.to_be_bytes());
    token[12..].copy_from_slice(&delivery.nonce.to_be_bytes());
    token
}

/// A token taken apart; `None` if it cannot be one.
pub(crate) fn token_ref(token: &[u8]) -> Option<TokenRef> {
    let token: &[u8; TOKEN_BYTES] = token.try_into().ok()?;
    let lease = u64::from_be_bytes(token.first_chunk().copied()?);
    let index = u32::from_be_bytes(token.get(8..12)?.try_into().ok()?);
    let nonce = u64::from_be_bytes(token.last_chunk().copied()?);
    Some(TokenRef { lease: LeaseId(lease).0, index, nonce })
}

/// What to settle a delivery as.
pub(crate) fn settle_kind(action: SettleAction) -> Option<SettleKind> {
    match action {
        SettleAction::Unspecified => None,
        SettleAction::Ack => Some(SettleKind::Ack),
        SettleAction::Nack => Some(SettleKind::Nack),
        SettleAction::Release => Some(SettleKind::Release),
        SettleAction::DeadLetter => Some(SettleKind::DeadLetter),
    }
}

fn settle_action(kind: SettleKind) -> i32 {
    match kind {
        SettleKind::Unspecified => SettleAction::Unspecified,
        SettleKind::Ack => SettleAction::Ack,
        SettleKind::Nack => SettleAction::Nack,
        SettleKind::Release => SettleAction::Release,
        SettleKind::DeadLetter => SettleAction::DeadLetter,
    }
    .into()
}

/// The answer to one settlement.
pub(crate) fn settle_result(outcome: SettleOutcome, asked: SettleAction) -> SettleResult {
    let settled = |action: i32| settle_result::Settled { action };
    let result = match outcome {
        SettleOutcome::Settled => settle_result::Result::Settled(settled(asked.into())),
        SettleOutcome::AlreadySettled(kind) => {
            settle_result::Result::AlreadySettled(settled(settle_action(kind)))
        }
        SettleOutcome::TokenInvalid => settle_result::Result::Error(token_invalid().to_proto()),
        SettleOutcome::LeaseLost => settle_result::Result::Error(lease_lost().to_proto()),
        SettleOutcome::SettledByAnother => settle_result::Result::Error(settled_by_another().to_proto()),
        SettleOutcome::MessagePurged => settle_result::Result::Error(message_purged().to_proto()),
    };
    SettleResult { result: Some(result) }
}

/// The answer to one extension, told now.
pub(crate) fn extend_result(outcome: ExtendOutcome, now: Now) -> ExtendResult {
    let mut lease_time_left = None;
    let result = match outcome {
        ExtendOutcome::Extended(ms) => {
            lease_time_left = Some(duration(now.left_ms(ms)));
            extend_result::Result::LeaseDeadline(timestamp(now.shown_ms(ms)))
        }
        ExtendOutcome::TokenInvalid => extend_result::Result::Error(token_invalid().to_proto()),
        ExtendOutcome::AlreadySettled(_) | ExtendOutcome::LeaseLost => {
            extend_result::Result::Error(lease_lost().to_proto())
        }
        ExtendOutcome::SettledByAnother => extend_result::Result::Error(settled_by_another().to_proto()),
        ExtendOutcome::MessagePurged => extend_result::Result::Error(message_purged().to_proto()),
    };
    ExtendResult { result: Some(result), lease_time_left }
}

/// One extension of a frame that asks for what no lease can have.
pub(crate) fn refused_extension(error: &ApiError) -> ExtendResult {
    let result = Some(extend_result::Result::Error(error.to_proto()));
    ExtendResult { result, lease_time_left: None }
}

fn token_invalid() -> ApiError {
    let text = "this is no token of a delivery to this caller; send it back as it came";
    ApiError::new(Code::InvalidArgument, ErrorReason::DeliveryTokenInvalid, text)
}

fn lease_lost() -> ApiError {
    let text = "the lease has ended; another consumer may have the message: drop this delivery's work";
    ApiError::new(Code::FailedPrecondition, ErrorReason::LeaseLost, text)
}

fn settled_by_another() -> ApiError {
    let text = "the lease had ended and the message was settled under a later one: drop this delivery's work";
    ApiError::new(Code::FailedPrecondition, ErrorReason::SettledByAnother, text)
}

/// What tells a queue from every other, also of the same name.
pub(crate) fn queue_uid(at: QueueRef) -> String {
    format!("{:08x}{:08x}", at.department.0, at.queue.0)
}

fn message_purged() -> ApiError {
    let text = "the message was purged and does not come again, to anybody: drop this delivery's work";
    ApiError::new(Code::FailedPrecondition, ErrorReason::MessagePurged, text)
}

/// A queue as the wire carries it.
pub(crate) fn queue(name: &QueueResource, view: &QueueView) -> v1::Queue {
    let QueueSettings { max_message_bytes, lease_duration_ms, max_attempts, dead_letter_queue } =
        view.settings.clone();
    let dead_letter_queue = if dead_letter_queue.is_empty() {
        String::new()
    } else {
        format!("tenants/{}/departments/{}/queues/{dead_letter_queue}", name.tenant, name.department)
    };
    v1::Queue {
        name: name.to_string(),
        uid: queue_uid(QueueRef { department: view.department, queue: view.queue }),
        etag: view.revision.to_string(),
        create_time: Some(timestamp(view.created_at_ms)),
        update_time: Some(timestamp(view.updated_at_ms)),
        max_message_bytes,
        default_subscription: Some(v1::SubscriptionSettings {
            lease_duration: Some(duration(lease_duration_ms)),
            max_attempts,
            dead_letter_queue,
        }),
        stats: None,
    }
}

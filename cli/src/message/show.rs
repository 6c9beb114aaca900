//! A message's state, for people and for programs.

use std::time::{Duration, SystemTime};

use posthouse_client::{MessageState, MessageStatus};
use serde_json::{Value, json};

use super::Destination;
use crate::{
    ndjson::write::{cause, dead_letter},
    time::{rfc3339, roughly},
};

/// The state as text.
pub(super) fn text(status: &MessageStatus, destination: &Destination) -> String {
    let mut text = one(status);
    match destination {
        Destination::None => {}
        Destination::DeadLetter(letter) => {
            text.push_str("\nIt is a dead letter now:\n");
            text.push_str(&one(letter));
        }
        Destination::NotIn(queue) => text.push_str(&format!(
            "\nIt is not among the dead letters of {queue}: it was acked or purged, or its dead letter was.\n"
        )),
        Destination::Unseen(queue) => text.push_str(&format!(
            "\nWhether it is among the dead letters of {queue} is not known: there is no such queue, or the token has \
             no grant for it.\n"
        )),
    }
    text
}

fn one(status: &MessageStatus) -> String {
    let mut rows = vec![
        ("message", status.message_id.clone()),
        ("queue", status.queue.clone()),
        ("sequence", status.sequence.to_string()),
        ("state", state(status.state, status.time_left)),
    ];
    if let Some(published) = status.publish_time {
        rows.push(("published", rfc3339(published)));
        rows.push(("payload", format!("{} bytes", status.payload_bytes)));
    }
    rows.push(("failed", format!("{} times", status.failed_attempts)));
    if let Some(origin) = &status.origin {
        rows.push(("dead because", cause(origin.reason).to_owned()));
        rows.push(("came from", format!("{}, message {}", origin.queue, origin.message_id)));
    }
    rows.into_iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
}

fn state(state: MessageState, left: Option<Duration>) -> String {
    let left = left.map_or_else(String::new, |left| format!(", in {}", roughly(left)));
    match state {
        MessageState::Leased { deadline } => {
            format!("leased: a consumer has it until {}{left}", rfc3339(deadline))
        }
        MessageState::Waiting { until: Some(until) } => {
            format!("waiting for its retry at {}{left}", rfc3339(until))
        }
        MessageState::Waiting { until: None } => "waiting for its dead-letter queue to exist".to_owned(),
        MessageState::Parked(reason) => {
            format!("parked: dead ({}), with no dead-letter queue", cause(reason))
        }
        MessageState::Settled => "settled: it is not delivered again from this queue".to_owned(),
        MessageState::Ready => "ready to be delivered".to_owned(),
        _ => "not known to this version".to_owned(),
    }
}

/// The state as a word.
pub(super) fn word(state: MessageState) -> &'static str {
    match state {
        MessageState::Ready => "ready",
        MessageState::Leased { .. } => "leased",
        MessageState::Waiting { .. } => "waiting",
        MessageState::Parked(_) => "parked",
        MessageState::Settled => "settled",
        _ => "unknown",
    }
}

/// The state as JSON; an unknown value is null.
pub(super) fn object(status: &MessageStatus) -> Value {
    let moment = |moment: Option<SystemTime>| moment.map(rfc3339);
    let (mut deadline, mut retry, mut parked) = (None, None, None);
    match status.state {
        MessageState::Leased { deadline: at } => deadline = Some(at),
        MessageState::Waiting { until } => retry = until,
        MessageState::Parked(reason) => parked = Some(cause(reason)),
        _ => {}
    }
    let left = status.time_left.map(|left| left.as_secs_f64());
    json!({
        "id": status.message_id,
        "queue": status.queue,
        "sequence": status.sequence,
        "state": word(status.state),
        "publish_time": moment(status.publish_time),
        "payload_bytes": status.payload_bytes,
        "failed_attempts": status.failed_attempts,
        "lease_deadline": moment(deadline),
        "lease_seconds_left": deadline.and(left),
        "retry_time": moment(retry),
        "retry_seconds_left": retry.and(left),
        "parked_reason": parked,
        "dead_letter": status.origin.as_ref().map(dead_letter),
    })
}

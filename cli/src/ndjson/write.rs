//! Formats a delivery as a line.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use posthouse_client::{DeadLetterCause, DeadLetterOrigin, Delivery};
use posthouse_text::shown;
use serde_json::{Value, json};

use crate::time::rfc3339;

/// The line of a delivery, without its line feed. Characters that control a terminal are escaped.
pub fn line(delivery: &Delivery) -> String {
    shown::json(&object(delivery).to_string()).into_owned()
}

fn object(delivery: &Delivery) -> Value {
    let mut object = json!({
        "id": delivery.message_id(),
        "sequence": delivery.sequence(),
        "publish_time": rfc3339(delivery.publish_time()),
        "attempt": delivery.attempt(),
        "attributes": delivery.attributes(),
    });
    let (key, payload) = payload(delivery.payload());
    object[key] = payload.into();
    if let Some(origin) = delivery.dead_letter_origin() {
        object["dead_letter"] = dead_letter(&origin);
    }
    object
}

/// The key and the text of a payload.
fn payload(bytes: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => ("payload", text.to_owned()),
        Err(_) => ("payload_base64", STANDARD.encode(bytes)),
    }
}

/// Name of the reason for a dead letter.
pub fn cause(cause: DeadLetterCause) -> &'static str {
    match cause {
        DeadLetterCause::MaxAttempts => "max_attempts",
        DeadLetterCause::Consumer => "consumer",
        _ => "unknown",
    }
}

/// Reason and source of a dead letter.
pub fn dead_letter(origin: &DeadLetterOrigin) -> Value {
    json!({
        "reason": cause(origin.reason),
        "source_queue": origin.queue,
        "source_subscription": origin.subscription,
        "source_message_id": origin.message_id,
        "source_sequence": origin.sequence,
        "source_publish_time": rfc3339(origin.publish_time),
        "attempts": origin.attempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_written_as_text() {
        assert_eq!(payload("签发".as_bytes()), ("payload", "签发".to_owned()));
        assert_eq!(payload(b"\xff\x00"), ("payload_base64", "/wA=".to_owned()));
    }
}

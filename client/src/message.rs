use std::{collections::HashMap, fmt, time::Duration};

use bytes::Bytes;
use posthouse_proto::v1;

use crate::trace;

/// Largest batch, in bytes: the server's limit for a frame, less what else is in the frame.
pub(crate) const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;
/// Bytes that a message costs on the wire and in memory beside its content; this also bounds the number of small
/// messages.
const OVERHEAD: usize = 32;
const ATTRIBUTE_OVERHEAD: usize = 12;

const MAX_ATTRIBUTES: usize = 64;
const MAX_KEY_BYTES: usize = 128;
const MAX_VALUE_BYTES: usize = 1024;

/// A message to publish: any bytes, and attributes. Neither is ever printed.
///
/// Limits: a payload of the size that the queue allows (1 MiB by default); 64 attributes, with keys of 1 to 128 bytes
/// and values of at most 1,024 bytes; payload and attributes together 4 MiB less 64 KiB.
///
/// If the caller is in a trace, publishing adds the attributes `traceparent` and `tracestate`, so that the consumer's
/// work belongs to the same trace. It does not if the message has a `traceparent`, or no space for them.
///
/// ```
/// use posthouse_client::NewMessage;
///
/// let message = NewMessage::new("an application").attribute("kind", "renewal");
/// assert_eq!(&message.payload()[..], b"an application");
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct NewMessage {
    wire: v1::NewMessage,
    timeout: Option<Duration>,
}

/// The reason for which a message was not sent.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The payload is larger than the queue allows.
    #[error(
        "the payload has {bytes} bytes and the queue takes {limit}; split it, or raise the queue's limit"
    )]
    TooLarge {
        /// The size of the payload, in bytes.
        bytes: usize,
        /// The limit of the queue, in bytes.
        limit: usize,
    },
    /// The payload and attributes together are larger than a batch.
    #[error("the message has {bytes} bytes with its attributes, and {limit} can be sent; shorten it")]
    TooLargeWithAttributes {
        /// The size of the message, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message has this many attributes; the limit is 64.
    #[error("the message has {0} attributes and may have 64; leave some out")]
    TooManyAttributes(usize),
    /// A key has this many bytes; the limit is 1 to 128.
    #[error("an attribute's key has {0} bytes and may have 1 to 128; shorten it")]
    Key(usize),
    /// A value is longer than 1,024 bytes.
    #[error("the value of attribute {key:?} has {bytes} bytes and may have 1,024; shorten it")]
    Value {
        /// The key of the attribute.
        key: String,
        /// The size of the value, in bytes.
        bytes: usize,
    },
}

impl NewMessage {
    /// Creates a message without attributes.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let wire = v1::NewMessage { payload: payload.into(), attributes: HashMap::new() };
        Self { wire, timeout: None }
    }

    /// Sets an attribute.
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.wire.attributes.insert(key.into(), value.into());
        self
    }

    /// Sets attributes.
    pub fn attributes<K, V>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.wire.attributes.extend(pairs.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// The time limit from the call of `publish` to the server's confirmation; the setting of the publisher if not set.
    /// A message that was not sent in time is never sent, and fails with
    /// [`PublishError::Expired`](crate::PublishError::Expired). One that was sent and has no answer in time fails with
    /// [`PublishError::TimedOut`](crate::PublishError::TimedOut), and may be stored.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.wire.payload
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Attaches the trace context of the caller, if there is one and it fits. `cost` is the cost of the message before;
    /// returns the cost after.
    pub(crate) fn attach_trace(&mut self, cost: usize) -> usize {
        let attributes = &mut self.wire.attributes;
        if trace::is_attached(attributes) {
            return cost;
        }
        let Some(context) = trace::current() else { return cost };
        let (count, bytes) = context.size();
        let larger = cost + bytes + count * ATTRIBUTE_OVERHEAD;
        if attributes.len() + count > MAX_ATTRIBUTES || larger > MAX_BATCH_BYTES {
            return cost;
        }
        context.insert_into(attributes);
        larger
    }

    pub(crate) fn into_wire(self) -> v1::NewMessage {
        self.wire
    }

    /// Checks the limits, and returns how many bytes the message costs of buffers and batches.
    pub(crate) fn cost(&self, max_payload: usize) -> Result<usize, MessageError> {
        let (bytes, attributes) = (self.wire.payload.len(), &self.wire.attributes);
        if bytes > max_payload {
            return Err(MessageError::TooLarge { bytes, limit: max_payload });
        }
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(MessageError::TooManyAttributes(attributes.len()));
        }
        let mut cost = bytes + OVERHEAD;
        for (key, value) in attributes {
            if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
                return Err(MessageError::Key(key.len()));
            }
            if value.len() > MAX_VALUE_BYTES {
                return Err(MessageError::Value { key: key.clone(), bytes: value.len() });
            }
            cost += key.len() + value.len() + ATTRIBUTE_OVERHEAD;
        }
        if cost > MAX_BATCH_BYTES {
            return Err(MessageError::TooLargeWithAttributes { bytes: cost, limit: MAX_BATCH_BYTES });
        }
        Ok(cost)
    }
}

impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("payload_bytes", &self.wire.payload.len())
            .field("attributes", &self.wire.attributes.len())
            .finish_non_exhaustive()
    }
}

impl<T: Into<Bytes>> From<T> for NewMessage {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::{MessageError, NewMessage};

    #[test]
    fn the_cost_is_no_less_than_the_wire_size() {
        let message =
            NewMessage::new(vec![0; 300]).attributes((0..64).map(|n| (format!("k{n}"), "v".repeat(1024))));
        let frame = posthouse_proto::v1::PublishRequest {
            messages: vec![message.clone().into_wire()],
            ..Default::default()
        };
        assert!(message.cost(300).unwrap() >= frame.encoded_len());
    }

    #[test]
    fn limits() {
        let with = |key: &str, value: String| NewMessage::new("x").attribute(key, value).cost(10);
        assert_eq!(with("k", "v".repeat(1025)), Err(MessageError::Value { key: "k".into(), bytes: 1025 }));
        assert_eq!(with("", String::new()), Err(MessageError::Key(0)));
        assert_eq!(with(&"k".repeat(129), String::new()), Err(MessageError::Key(129)));
        assert_eq!(
            NewMessage::new("12345678901").cost(10),
            Err(MessageError::TooLarge { bytes: 11, limit: 10 })
        );
        let many = NewMessage::new("").attributes((0..65).map(|n| (n.to_string(), "")));
        assert_eq!(many.cost(10), Err(MessageError::TooManyAttributes(65)));
        let large = NewMessage::new(vec![0; 4 << 20]).cost(usize::MAX);
        assert!(matches!(large, Err(MessageError::TooLargeWithAttributes { .. })));
    }
}

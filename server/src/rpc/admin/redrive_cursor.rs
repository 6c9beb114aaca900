//! The page token of a redrive: the sequence from which the next call continues. It is opaque to callers and valid for
//! one queue.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_engine::ids::{DepartmentId, QueueId, QueueRef};
use posthouse_proto::v1::ErrorReason;

use crate::rpc::wire::status::ApiError;

/// First byte of a token. A later format would begin with another number.
const FORMAT: u8 = 1;
const BYTES: usize = 1 + 4 + 4 + 8;

/// A position in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RedriveCursor {
    pub(super) queue: QueueRef,
    pub(super) sequence: u64,
}

impl RedriveCursor {
    /// The cursor as a page token.
    pub(super) fn encode(self) -> String {
        let (department, queue) = (self.queue.department.0.to_be_bytes(), self.queue.queue.0.to_be_bytes());
        let sequence = self.sequence.to_be_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([&[FORMAT][..], &department, &queue, &sequence].concat())
    }

    /// The sequence from which to continue in this queue; 0 if the token is empty.
    pub(super) fn read(token: &str, queue: QueueRef) -> Result<u64, ApiError> {
        if token.is_empty() {
            return Ok(0);
        }
        let wrong = |text| ApiError::field(ErrorReason::PageTokenInvalid, "page_token", text);
        let cursor = Self::decode(token).ok_or_else(|| {
            wrong("this page_token was not given out by RedriveDeadLetters; begin again without one")
        })?;
        if cursor.queue != queue {
            return Err(wrong(
                "this page_token was given out for another queue, or for one that was deleted since; \
                 begin again without one",
            ));
        }
        Ok(cursor.sequence)
    }

    fn decode(token: &str) -> Option<Self> {
        let bytes: [u8; BYTES] = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let [FORMAT, rest @ ..] = bytes else { return None };
        let (department, rest) = rest.split_first_chunk::<4>()?;
        let (queue, rest) = rest.split_first_chunk::<4>()?;
        let sequence = u64::from_be_bytes(rest.try_into().ok()?);
        let department = DepartmentId(u32::from_be_bytes(*department));
        let queue = QueueRef { department, queue: QueueId(u32::from_be_bytes(*queue)) };
        Some(Self { queue, sequence }).filter(|cursor| cursor.sequence > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_its_queue_and_only_as_a_whole() {
        let queue = QueueRef { department: DepartmentId(7), queue: QueueId(9) };
        let token = RedriveCursor { queue, sequence: 300 }.encode();
        assert_eq!(RedriveCursor::read(&token, queue).unwrap(), 300);
        assert_eq!(RedriveCursor::read("", queue).unwrap(), 0);
        let again = QueueRef { queue: QueueId(10), ..queue };
        let none = RedriveCursor { queue, sequence: 0 }.encode();
        let other = BASE64_URL_SAFE_NO_PAD.encode([2; BYTES]);
        for (token, queue) in [
            (&*token, again),
            (&token[..token.len() - 1], queue),
            (&format!("{token}A"), queue),
            (&none, queue),
            (&other, queue),
            ("%", queue),
        ] {
            assert_eq!(
                RedriveCursor::read(token, queue).unwrap_err().reason(),
                ErrorReason::PageTokenInvalid,
                "{token}"
            );
        }
    }
}

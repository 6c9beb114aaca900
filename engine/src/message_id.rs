//! The id of a message, opaque to callers. It contains queue, lane and sequence, so that finding the message needs no
//! index.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::ids::{DepartmentId, Lane, QueueId, QueueRef};

const LENGTH: usize = 4 + 4 + 1 + 8;
/// Characters of an id.
pub const TEXT_BYTES: usize = (LENGTH * 8).div_ceil(6);

/// The id of a message.
#[must_use]
pub fn encode(queue: QueueRef, lane: Lane, sequence: u64) -> String {
    text(queue, lane, sequence).map(char::from).iter().collect()
}

/// The id of a message, as ASCII.
#[must_use]
pub fn text(queue: QueueRef, lane: Lane, sequence: u64) -> [u8; TEXT_BYTES] {
    let mut id = [0; LENGTH];
    id[..4].copy_from_slice(&queue.department.0.to_be_bytes());
    id[4..8].copy_from_slice(&queue.queue.0.to_be_bytes());
    id[8] = lane.0;
    id[9..].copy_from_slice(&sequence.to_be_bytes());
    let mut text = [0; TEXT_BYTES];
    let written = BASE64_URL_SAFE_NO_PAD.encode_slice(id, &mut text);
    debug_assert_eq!(written, Ok(TEXT_BYTES));
    text
}

/// The queue, lane and sequence of an id; `None` if the text is no id.
#[must_use]
pub fn decode(id: &str) -> Option<(QueueRef, Lane, u64)> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(id).ok()?;
    let (department, rest) = bytes.split_first_chunk::<4>()?;
    let (queue, rest) = rest.split_first_chunk::<4>()?;
    let ([lane], rest) = rest.split_first_chunk::<1>()?;
    let sequence = <[u8; 8]>::try_from(rest).ok()?;
    let queue = QueueRef {
        department: DepartmentId(u32::from_be_bytes(*department)),
        queue: QueueId(u32::from_be_bytes(*queue)),
    };
    Some((queue, Lane(*lane), u64::from_be_bytes(sequence)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_read_as_it_was_written(department: u32, queue: u32, lane: u8, sequence: u64) {
            let queue = QueueRef { department: DepartmentId(department), queue: QueueId(queue) };
            let id = encode(queue, Lane(lane), sequence);
            prop_assert_eq!(decode(&id), Some((queue, Lane(lane), sequence)));
            prop_assert_eq!(decode(&id[1..]), None);
            prop_assert_eq!(decode(&format!("{id}A")), None);
        }
    }
}

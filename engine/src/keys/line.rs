//! Lines: the bodies of one lane of a queue. Their keys begin alike and end with the sequence, so that a store may
//! keep those that follow each other in one row, and may trim a line up to a sequence.

use super::Kind;
use crate::ids::{Lane, QueueRef};

/// Bytes of the beginning that the keys of a line share: department, queue, kind and lane.
pub(super) const LINE_BYTES: usize = 10;
const KIND_AT: usize = 8;

/// The beginning of the keys of a line.
// Called for every body that is published.
#[inline]
#[must_use]
pub fn line(queue: QueueRef, lane: Lane) -> [u8; LINE_BYTES] {
    let mut line = [0; LINE_BYTES];
    line[..4].copy_from_slice(&queue.department.0.to_be_bytes());
    line[4..KIND_AT].copy_from_slice(&queue.queue.0.to_be_bytes());
    line[KIND_AT] = Kind::Body as u8;
    line[KIND_AT + 1] = lane.0;
    line
}

/// The line and the sequence of a body's key. Other keys are in no line; among them are those of ranges, such as a
/// whole queue.
// Called for every body that is written.
#[inline]
#[must_use]
pub fn split_line(key: &[u8]) -> Option<(&[u8], u64)> {
    let (line, sequence) = key.split_last_chunk()?;
    let is_body = line.len() == LINE_BYTES && line[KIND_AT] == Kind::Body as u8;
    is_body.then(|| (line, u64::from_be_bytes(*sequence)))
}

/// The key of a line's body.
#[must_use]
pub fn join_line(line: &[u8], sequence: u64) -> Vec<u8> {
    [line, &sequence.to_be_bytes()].concat()
}

/// A key behind all bodies of the line of `key`, whatever follows their sequences.
#[must_use]
pub fn after_line(key: &[u8]) -> Vec<u8> {
    let line = key.get(..LINE_BYTES).unwrap_or(key);
    [line, &[u8::MAX; LINE_BYTES]].concat()
}

//! Message bodies: how they are stored and read. The value of a row is `header length u32 | header | content`; the
//! engine reads and writes headers only.

use bytes::{Buf as _, BufMut, Bytes};
use prost::Message;

use crate::{
    ids::{Lane, SubscriptionRef},
    keys::{self, BodyKey, Key as _},
    kv::{Family, Kv, KvError, Write, Writes},
    schema::BodyHeader,
};

impl BodyHeader {
    /// The publish time that is shown: the wall clock's, Unix milliseconds.
    #[must_use]
    pub const fn wall_published_at_ms(&self) -> u64 {
        wall_time(self.published_at_ms, self.wall_ahead_ms)
    }
}

/// The time of the wall clock when it was `wall_ahead_ms` ahead of the time of a batch.
pub(crate) const fn wall_time(at_ms: u64, wall_ahead_ms: i64) -> u64 {
    // The inverse of `Transaction::wall_ahead`.
    at_ms.wrapping_add_signed(wall_ahead_ms)
}

/// A message's body as a batch stores it. The value of the row is `head` followed by `tail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The key of the row.
    pub key: BodyKey,
    /// The value's first part: the header, and the beginning of the content.
    pub head: Bytes,
    /// The rest of the content.
    pub tail: Bytes,
}

/// The bodies of new messages among a batch's writes, by ascending key; without the copies of relocated ones.
pub fn stored(writes: Writes) -> impl Iterator<Item = StoredBody> {
    // Writes are in the order of families, so that reading ends behind the last body.
    let bodies = writes.into_iter().take_while(|write| write.family() == Family::ALL[0]);
    bodies.filter_map(|write| match write {
        Write::Put { key, head, tail, .. } => BodyKey::decode(&key).map(|key| StoredBody { key, head, tail }),
        Write::Delete { .. } | Write::DeleteRange { .. } => None,
    })
}

const _: () = assert!(matches!(Family::ALL[0], Family::Body));

/// A message's body for a subscription. `None`: the message was settled and trimmed, or purged, or its queue was
/// deleted.
///
/// # Errors
/// When the store cannot be read.
pub fn read<K: Kv + ?Sized>(
    kv: &K,
    subscription: SubscriptionRef,
    lane: Lane,
    sequence: u64,
) -> Result<Option<Bytes>, KvError> {
    let published = kv.get(Family::Body, &keys::body(subscription.queue, lane, sequence))?;
    or_relocated(kv, subscription, lane, sequence, published)
}

/// A message's body for a subscription after a read where it was published: `published`, or else the relocated copy.
///
/// # Errors
/// When the store cannot be read.
pub fn or_relocated<K: Kv + ?Sized>(
    kv: &K,
    subscription: SubscriptionRef,
    lane: Lane,
    sequence: u64,
    published: Option<Bytes>,
) -> Result<Option<Bytes>, KvError> {
    match published {
        Some(body) => Ok(Some(body)),
        None => kv.get(Family::Body, &keys::relocated(subscription, lane, sequence)),
    }
}

/// A stored body is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored body is not whole")]
pub struct BodyError;

/// The first part of a body row's value: the header, and the beginning of the content. The rest of the content
/// follows it.
#[must_use]
pub fn head(header: &BodyHeader, content_head: &[u8]) -> Bytes {
    let length = header.encoded_len();
    let mut head = Vec::with_capacity(4 + length + content_head.len());
    // A header has some hundred bytes.
    head.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A Vec grows: encoding into it cannot fail.
    header.encode_raw(&mut head);
    head.put_slice(content_head);
    head.into()
}

/// Header and content of a stored body; the content is not copied.
///
/// # Errors
/// When the value is shorter than its header says, or the header cannot be decoded.
pub fn split(mut value: Bytes) -> Result<(BodyHeader, Bytes), BodyError> {
    let (length, rest) = value.split_first_chunk().ok_or(BodyError)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BodyError)?;
    let header = BodyHeader::decode(rest.get(..length).ok_or(BodyError)?).map_err(|_| BodyError)?;
    // Not split into two values: that would count one more user of the bytes.
    value.advance(4 + length);
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{DEFAULT_LANE, DEFAULT_SUBSCRIPTION, DepartmentId, QueueId, QueueRef},
        kv::MemKv,
    };

    #[test]
    fn a_body_is_read_where_it_was_published_or_relocated() {
        let queue = QueueRef { department: DepartmentId(1), queue: QueueId(2) };
        let at = SubscriptionRef { queue, subscription: DEFAULT_SUBSCRIPTION };
        let put = |key, value| {
            let (family, head, tail) = (Family::Body, Bytes::from_static(value), Bytes::new());
            Write::Put { family, key, head, tail }
        };
        let mut kv = MemKv::default();
        kv.write(&[
            put(keys::body(queue, DEFAULT_LANE, 1), b"published"),
            put(keys::relocated(at, DEFAULT_LANE, 1), b"relocated"),
            put(keys::relocated(at, DEFAULT_LANE, 2), b"relocated"),
        ]);
        let read = |sequence| read(&kv, at, DEFAULT_LANE, sequence).unwrap();
        assert_eq!(read(1).as_deref(), Some(&b"published"[..]));
        assert_eq!(read(2).as_deref(), Some(&b"relocated"[..]));
        assert_eq!(read(3), None);
    }

    #[test]
    fn wall_time_is_what_the_wall_clock_said() {
        for (now, wall) in [(7, 7), (7, 2), (7, 3_000_007), (0, u64::MAX), (u64::MAX, 0), (1 << 63, 1)] {
            assert_eq!(wall_time(now, wall.wrapping_sub(now).cast_signed()), wall);
        }
    }

    #[test]
    fn a_body_comes_apart_as_it_was_put_together() {
        let header = BodyHeader { published_at_ms: 7, payload_bytes: 3, ..Default::default() };
        let value = Bytes::from([&head(&header, b"a")[..], b"bc"].concat());
        assert_eq!(split(value.clone()), Ok((header, Bytes::from_static(b"abc"))));
        for cut in 0..value.len() - 3 {
            assert_eq!(split(value.slice(..cut)), Err(BodyError), "cut at {cut}");
        }
    }
}

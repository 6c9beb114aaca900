//! Message bodies on their way out: the newest from memory, the others from the store.

mod cache;

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Buf, Bytes};
use posthouse_engine::{
    body,
    ids::{LANES, SubscriptionRef},
    schema::{BodyHeader, DeadLetterOrigin},
};
use posthouse_text::causes;

pub(crate) use self::cache::BodyCache;
use crate::{
    content::{self, PlainContent},
    store::{Amount, Store},
};

/// A body as delivered: what the system wrote about it, and what the producer published.
#[derive(Debug)]
pub(crate) struct Body {
    /// The time of the batch that published it.
    pub(crate) published_at_ms: u64,
    /// That time as the wall clock shows it.
    pub(crate) published_wall_ms: u64,
    /// Of a message that was moved to a dead-letter queue.
    pub(crate) origin: Option<Box<DeadLetterOrigin>>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) payload: Bytes,
}

/// A stored body that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a message body cannot be read: {0}")]
pub(crate) struct BodyError(String);

/// Reads bodies of one subscription, in the order asked: as many as the amount allows of those in memory and of the
/// others, up to the first that cannot be read, and one at least. `None` for one that was purged or deleted.
///
/// # Errors
/// When the first of them cannot be read.
pub(crate) async fn read(
    cache: &BodyCache,
    store: &Arc<Store>,
    at: SubscriptionRef,
    sequences: &[u64],
    amount: Amount,
) -> Result<Vec<Option<Body>>, BodyError> {
    let [lane] = LANES;
    let mut cached = cache.get_all(at.queue, lane, sequences);
    cached.truncate(within(cached.iter().map(|parts| parts.as_ref().map_or(0, cache::size)), amount));
    let missing: Vec<usize> =
        cached.iter().enumerate().filter(|(_, c)| c.is_none()).map(|(i, _)| i).collect();
    let mut stored = Vec::new();
    if !missing.is_empty() {
        let wanted = missing.iter().filter_map(|i| sequences.get(*i)).copied().collect();
        stored = match read_stored(store, at, wanted, amount).await {
            Err(error) if cached.first().is_some_and(Option::is_none) => return Err(error),
            stored => stored.unwrap_or_default(),
        };
        if let Some(unread) = missing.get(stored.len()) {
            cached.truncate(*unread);
        }
    }
    cache.count(cached.len() - stored.len(), stored.len());
    let mut stored = stored.into_iter();
    let mut bodies = Vec::with_capacity(cached.len());
    for hit in cached {
        let body = match hit {
            Some((head, tail)) => from_parts(head, tail).map(Some),
            None => stored.next().flatten().map(from_value).transpose(),
        };
        match body {
            Ok(body) => bodies.push(body),
            Err(error) if bodies.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bodies)
}

/// How many of these sizes are read.
fn within(sizes: impl Iterator<Item = usize>, amount: Amount) -> usize {
    let mut bytes = 0;
    let more = |size: &usize| {
        let more = bytes < amount.max_bytes;
        bytes += size;
        more
    };
    sizes.take_while(more).count()
}

/// Reads bodies from the store on a blocking thread. If one cannot be read, the bodies before it are read one by one.
async fn read_stored(
    store: &Arc<Store>,
    at: SubscriptionRef,
    wanted: Vec<u64>,
    amount: Amount,
) -> Result<Vec<Option<Bytes>>, BodyError> {
    let store = Arc::clone(store);
    let read = move || {
        let read = read_some(&store, at, &wanted, amount);
        let [_, _, ..] = &wanted[..] else { return read };
        read.or_else(|_| read_up_to_unreadable(&store, at, &wanted, amount))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|why| Err(BodyError(why.to_string())))
}

fn read_up_to_unreadable(
    store: &Store,
    at: SubscriptionRef,
    wanted: &[u64],
    amount: Amount,
) -> Result<Vec<Option<Bytes>>, BodyError> {
    let (mut bodies, mut bytes) = (Vec::new(), 0);
    for one in wanted.chunks(1) {
        if bytes >= amount.max_bytes {
            break;
        }
        match read_some(store, at, one, amount) {
            Ok(read) => {
                bytes += read.iter().flatten().map(Bytes::len).sum::<usize>();
                bodies.extend(read);
            }
            Err(error) if bodies.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(bodies)
}

fn read_some(
    store: &Store,
    at: SubscriptionRef,
    wanted: &[u64],
    amount: Amount,
) -> Result<Vec<Option<Bytes>>, BodyError> {
    let [lane] = LANES;
    let bodies = store.bodies(at.queue, lane, wanted, amount);
    let mut bodies = bodies.map_err(|why| BodyError(causes(&why).to_string()))?;
    let (mut read, mut bytes) = (0, 0);
    for (body, sequence) in bodies.iter_mut().zip(wanted) {
        if bytes >= amount.max_bytes {
            break;
        }
        let found = body::or_relocated(store, at, lane, *sequence, body.take());
        *body = found.map_err(|why| BodyError(causes(&why).to_string()))?;
        (read, bytes) = (read + 1, bytes + body.as_ref().map_or(0, Bytes::len));
    }
    bodies.truncate(read);
    Ok(bodies)
}

fn from_value(value: Bytes) -> Result<Body, BodyError> {
    let (header, content) = split(value)?;
    decoded(header, content)
}

fn from_parts(head: Bytes, tail: Bytes) -> Result<Body, BodyError> {
    let (header, rest) = split(head)?;
    // The payload is the tail, or a part of it: it is not copied.
    decoded(header, rest.chain(tail))
}

fn split(value: Bytes) -> Result<(BodyHeader, Bytes), BodyError> {
    body::split(value).map_err(|why| BodyError(why.to_string()))
}

fn decoded(header: BodyHeader, content: impl Buf) -> Result<Body, BodyError> {
    let PlainContent { attributes, payload } =
        content::open(content).map_err(|why| BodyError(why.to_string()))?;
    let (published_at_ms, published_wall_ms) = (header.published_at_ms, header.wall_published_at_ms());
    let origin = header.dead_letter.map(Box::new);
    Ok(Body { published_at_ms, published_wall_ms, origin, attributes, payload })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use posthouse_engine::{
        body::StoredBody,
        ids::{DEFAULT_LANE, DEFAULT_SUBSCRIPTION, DepartmentId, QueueId, QueueRef},
        keys::{self, BodyKey, Key as _},
        kv::{Family, Write},
        schema::{Content, PublishEntry},
    };
    use posthouse_proto::v1::NewMessage;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{rpc::wire::convert, store::StoreOptions};

    const AT: SubscriptionRef = SubscriptionRef { queue: QUEUE, subscription: DEFAULT_SUBSCRIPTION };
    const QUEUE: QueueRef = QueueRef { department: DepartmentId(1), queue: QueueId(1) };

    /// 20 bodies in the store, some of them relocated, those of some sequences in memory, too.
    fn bodies(cached: &[u64], relocated: &[u64]) -> (tempfile::TempDir, Arc<Store>, BodyCache) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &StoreOptions::default()).unwrap();
        let cache = BodyCache::new(1 << 20);
        for sequence in 1..=20 {
            let header = BodyHeader { payload_bytes: 1_000, ..BodyHeader::default() };
            let head = body::head(&header, &[]);
            let content = Content { payload: vec![sequence as u8; 1_000].into(), ..Content::default() };
            let tail = Bytes::from(content.encode_to_vec());
            let key = BodyKey { queue: QUEUE, lane: DEFAULT_LANE, sequence };
            if cached.contains(&sequence) {
                cache.put_all([StoredBody { key, head: head.clone(), tail: tail.clone() }]);
            }
            let relocated = relocated.contains(&sequence);
            let key = if relocated { keys::relocated(AT, DEFAULT_LANE, sequence) } else { key.encode() };
            store.write(&[Write::Put { family: Family::Body, key, head, tail }]).unwrap();
        }
        (dir, Arc::new(store), cache)
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_keeps_nobody_else_from_being_read() {
        let sequences: Vec<u64> = (1..=20).collect();
        for cached in [&[][..], &[1, 2], &[3, 9]] {
            let (_dir, store, cache) = bodies(cached, &[]);
            let (key, head) = (keys::body(QUEUE, DEFAULT_LANE, 7), Bytes::from_static(b"\xff"));
            store.write(&[Write::Put { family: Family::Body, key, head, tail: Bytes::new() }]).unwrap();
            let before = read(&cache, &store, AT, &sequences, Amount::ALL).await.unwrap();
            assert!(before.len() == 6 && before.iter().all(Option::is_some), "{before:?}");
            read(&cache, &store, AT, &sequences[6..], Amount::ALL).await.unwrap_err();
            let behind = read(&cache, &store, AT, &sequences[7..], Amount::ALL).await.unwrap();
            assert_eq!(behind.len(), 13);
        }
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_amount_says_and_one_at_least() {
        let sequences: Vec<u64> = (1..=20).collect();
        let all_relocated = sequences.clone();
        let cases = [
            (&[][..], &[][..]),
            (&[], &[1, 2, 9, 13]),
            (&[], &all_relocated),
            (&[2, 4, 5, 9, 20], &[4, 7]),
            (&[2, 4, 18], &[3]),
            (&[1, 2, 3, 4, 5, 6, 8, 9, 10], &[7, 12, 13, 14]),
        ];
        for (cached, relocated) in cases {
            let (_dir, store, cache) = bodies(cached, relocated);
            // Those in memory and those in the store are counted each by themselves.
            for (max_bytes, min, max) in [(1, 1, 2), (4_500, 5, 10), (usize::MAX, 20, 20)] {
                let max = if cached.is_empty() { min } else { max };
                let amount = Amount { body_bytes: 1_000, max_bytes };
                let before = cache.figures();
                let read = read(&cache, &store, AT, &sequences, amount).await.unwrap();
                assert!((min..=max).contains(&read.len()), "{max_bytes}: {} of {cached:?}", read.len());
                let after = cache.figures();
                let hits = cached.iter().filter(|sequence| **sequence <= read.len() as u64).count();
                assert_eq!(after.hits - before.hits, hits as u64);
                assert_eq!(after.misses - before.misses, (read.len() - hits) as u64);
                for (sequence, body) in sequences.iter().zip(&read) {
                    assert_eq!(body.as_ref().unwrap().payload[..], vec![*sequence as u8; 1_000]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_body_in_two_parts_or_one_is_what_was_published(
            attributes in prop::collection::hash_map(".{1,10}", ".{0,10}", 0..4),
            payload in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let payload = Bytes::from(payload);
            let attributes: HashMap<String, String> = attributes;
            let message = NewMessage { payload: payload.clone(), attributes: attributes.clone() };
            let entry = convert::publish_entry(message, 400).unwrap();
            let PublishEntry { content_head, content, payload_bytes, refused } = entry;
            prop_assert!((payload_bytes as usize, refused) == (payload.len(), false));
            let origin = DeadLetterOrigin { queue: "from".into(), sequence: 9, ..DeadLetterOrigin::default() };
            let dead_letter = attributes.is_empty().then_some(origin);
            let header = BodyHeader {
                payload_bytes,
                published_at_ms: 7,
                wall_ahead_ms: -2,
                dead_letter,
                ..BodyHeader::default()
            };
            let head = body::head(&header, &content_head);
            let whole = from_value([&head[..], &content].concat().into()).unwrap();
            let parts = from_parts(head, content).unwrap();
            for body in [&whole, &parts] {
                prop_assert_eq!((body.published_at_ms, body.published_wall_ms), (7, 5));
                prop_assert_eq!(body.origin.as_deref(), header.dead_letter.as_ref());
                prop_assert_eq!(&body.payload, &payload);
                let found: HashMap<_, _> = body.attributes.clone().into_iter().collect();
                prop_assert_eq!(&found, &attributes);
            }
            prop_assert!(payload.is_empty() || parts.payload.as_ptr() == payload.as_ptr(), "it was copied");
        }
    }
}

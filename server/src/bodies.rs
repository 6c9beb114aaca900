//! Message bodies on their way out: the newest from memory, the others from the store.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use posthouse_engine::{
    body,
    ids::{DEFAULT_LANE, SubscriptionRef},
    keys,
    schema::{BodyHeader, Content},
};
use prost::Message as _;

use crate::store::Store;

/// A body as delivered: what the system wrote about it, and what the producer published.
pub(crate) struct Body {
    pub(crate) header: BodyHeader,
    pub(crate) content: Content,
}

/// The newest bodies, bounded by bytes: a consumer that keeps up never touches the store.
#[derive(Debug)]
pub(crate) struct BodyCache {
    rows: Mutex<Rows>,
    max_bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How the cache is doing.
pub(crate) struct BodyFigures {
    /// Bodies found in it since the start.
    pub(crate) hits: u64,
    /// Bodies that were read from the store instead.
    pub(crate) misses: u64,
    /// Its size.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct Rows {
    by_key: HashMap<Vec<u8>, (Bytes, Bytes)>,
    oldest_first: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl BodyCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { rows: Mutex::default(), max_bytes, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Keeps bodies that were just written: key, and the value's two parts.
    pub(crate) fn put_all(&self, bodies: Vec<(Vec<u8>, Bytes, Bytes)>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, head, tail) in bodies {
            rows.bytes += size(&key, &head, &tail);
            rows.oldest_first.push_back(key.clone());
            if let Some((head, tail)) = rows.by_key.insert(key, (head, tail)) {
                // The older copy's place in the line stays and finds nothing when it is reached.
                rows.bytes = rows.bytes.saturating_sub(head.len() + tail.len());
            }
        }
        while rows.bytes > self.max_bytes {
            let Some(key) = rows.oldest_first.pop_front() else { break };
            if let Some((head, tail)) = rows.by_key.remove(&key) {
                rows.bytes = rows.bytes.saturating_sub(size(&key, &head, &tail));
            }
        }
    }

    pub(crate) fn figures(&self) -> BodyFigures {
        let bytes = self.rows.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        BodyFigures { hits, misses, bytes }
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Vec<Option<(Bytes, Bytes)>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().map(|key| rows.by_key.get(key).cloned()).collect()
    }
}

fn size(key: &[u8], head: &[u8], tail: &[u8]) -> usize {
    2 * key.len() + head.len() + tail.len() + 160
}

/// A stored body that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a message body cannot be read: {0}")]
pub(crate) struct BodyError(String);

/// Reads bodies of one subscription, in the order asked; `None` for one that is gone (purged or deleted).
pub(crate) async fn read(
    cache: &BodyCache,
    store: &Arc<Store>,
    at: SubscriptionRef,
    sequences: &[u64],
) -> Result<Vec<Option<Body>>, BodyError> {
    let keys: Vec<_> = sequences.iter().map(|s| keys::body(at.queue, DEFAULT_LANE, *s)).collect();
    let cached = cache.get_all(&keys);
    let missing: Vec<usize> =
        cached.iter().enumerate().filter(|(_, c)| c.is_none()).map(|(i, _)| i).collect();
    cache.misses.fetch_add(missing.len() as u64, Ordering::Relaxed);
    cache.hits.fetch_add((keys.len() - missing.len()) as u64, Ordering::Relaxed);
    let mut bodies = Vec::with_capacity(keys.len());
    for hit in cached {
        bodies.push(hit.map(|(head, tail)| from_parts(head, tail)).transpose()?);
    }
    if !missing.is_empty() {
        let wanted =
            missing.iter().filter_map(|i| Some((keys.get(*i)?.clone(), *sequences.get(*i)?))).collect();
        for (index, value) in missing.into_iter().zip(read_stored(store, at, wanted).await?) {
            if let (Some(slot), Some(value)) = (bodies.get_mut(index), value) {
                *slot = Some(from_value(value)?);
            }
        }
    }
    Ok(bodies)
}

/// From the store, off the network's threads; a body that was set aside when its stride was trimmed is found there.
async fn read_stored(
    store: &Arc<Store>,
    at: SubscriptionRef,
    wanted: Vec<(Vec<u8>, u64)>,
) -> Result<Vec<Option<Bytes>>, BodyError> {
    let store = Arc::clone(store);
    let read = move || {
        let keys: Vec<_> = wanted.iter().map(|(key, _)| key.clone()).collect();
        let mut values = store.bodies(&keys).map_err(|why| BodyError(with_cause(&why)))?;
        let gone: Vec<usize> =
            values.iter().enumerate().filter(|(_, v)| v.is_none()).map(|(i, _)| i).collect();
        if gone.is_empty() {
            return Ok(values);
        }
        let sequences = gone.iter().filter_map(|i| wanted.get(*i));
        let keys: Vec<_> = sequences.map(|(_, s)| keys::aside(at, DEFAULT_LANE, *s)).collect();
        let aside = store.bodies(&keys).map_err(|why| BodyError(with_cause(&why)))?;
        for (index, value) in gone.into_iter().zip(aside) {
            if let Some(slot) = values.get_mut(index) {
                *slot = value;
            }
        }
        Ok(values)
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|why| Err(BodyError(why.to_string())))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn from_value(value: Bytes) -> Result<Body, BodyError> {
    let (header, content) = body::split(value).map_err(|why| BodyError(why.to_string()))?;
    let content = Content::decode(content).map_err(|why| BodyError(why.to_string()))?;
    Ok(Body { header, content })
}

fn from_parts(head: Bytes, tail: Bytes) -> Result<Body, BodyError> {
    let (header, rest) = body::split(head).map_err(|why| BodyError(why.to_string()))?;
    let content = if rest.is_empty() { tail } else { [rest, tail].concat().into() };
    let content = Content::decode(content).map_err(|why| BodyError(why.to_string()))?;
    Ok(Body { header, content })
}

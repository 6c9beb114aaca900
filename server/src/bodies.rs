//! Message bodies on their way out: the newest from memory, the others from the store.

mod cache;

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use posthouse_engine::{
    body,
    ids::{DEFAULT_LANE, SubscriptionRef},
    keys,
    schema::{BodyHeader, Content},
};
use prost::Message as _;

pub(crate) use self::cache::BodyCache;
use crate::store::Store;

/// A body as delivered: what the system wrote about it, and what the producer published.
pub(crate) struct Body {
    pub(crate) header: BodyHeader,
    pub(crate) content: Content,
}

/// A stored body that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a message body cannot be read: {0}")]
pub(crate) struct BodyError(String);

/// Reads bodies of one subscription, in the order asked; `None` for one that is gone (purged or deleted). `body_bytes` is
/// about the size of each, 0 if nobody knows.
pub(crate) async fn read(
    cache: &BodyCache,
    store: &Arc<Store>,
    at: SubscriptionRef,
    sequences: &[u64],
    body_bytes: usize,
) -> Result<Vec<Option<Body>>, BodyError> {
    let cached = cache.get_all(at.queue, DEFAULT_LANE, sequences);
    let missing: Vec<usize> =
        cached.iter().enumerate().filter(|(_, c)| c.is_none()).map(|(i, _)| i).collect();
    let mut bodies = Vec::with_capacity(sequences.len());
    for hit in cached {
        bodies.push(hit.map(|(head, tail)| from_parts(head, tail)).transpose()?);
    }
    if !missing.is_empty() {
        let wanted = missing.iter().filter_map(|i| sequences.get(*i)).copied().collect();
        for (index, value) in missing.into_iter().zip(read_stored(store, at, wanted, body_bytes).await?) {
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
    wanted: Vec<u64>,
    body_bytes: usize,
) -> Result<Vec<Option<Bytes>>, BodyError> {
    let store = Arc::clone(store);
    let read = move || {
        let keys: Vec<_> = wanted.iter().map(|s| keys::body(at.queue, DEFAULT_LANE, *s)).collect();
        let mut values =
            store.bodies(&keys, keys.len() * body_bytes).map_err(|why| BodyError(with_cause(&why)))?;
        let gone: Vec<usize> =
            values.iter().enumerate().filter(|(_, v)| v.is_none()).map(|(i, _)| i).collect();
        if gone.is_empty() {
            return Ok(values);
        }
        let sequences = gone.iter().filter_map(|i| wanted.get(*i));
        let keys: Vec<_> = sequences.map(|s| keys::aside(at, DEFAULT_LANE, *s)).collect();
        let aside = store.bodies(&keys, 0).map_err(|why| BodyError(with_cause(&why)))?;
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
    // The payload is the tail, or a part of it: it is not copied.
    let content = Content::decode(rest.chain(tail)).map_err(|why| BodyError(why.to_string()))?;
    Ok(Body { header, content })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use posthouse_engine::schema::PublishEntry;
    use posthouse_proto::v1::NewMessage;
    use proptest::prelude::*;

    use super::*;
    use crate::rpc::convert;

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
            let header = BodyHeader { payload_bytes, ..BodyHeader::default() };
            let head = body::head(&header, &content_head);
            let whole = from_value([&head[..], &content].concat().into()).unwrap();
            let parts = from_parts(head, content).unwrap();
            for body in [&whole, &parts] {
                prop_assert_eq!(&body.header, &header);
                prop_assert_eq!(&body.content.payload, &payload);
                let found: HashMap<_, _> = body.content.attributes.clone().into_iter().collect();
                prop_assert_eq!(&found, &attributes);
            }
            prop_assert!(payload.is_empty() || parts.content.payload.as_ptr() == payload.as_ptr(), "it was copied");
        }
    }
}

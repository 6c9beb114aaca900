//! A subscription: `department | queue | kind | subscription` -> its own state but for the ack chunks.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{ids::SubscriptionRef, kv::Family, schema::SubscriptionRow};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionKey {
    /// Whose.
    pub subscription: SubscriptionRef,
}

impl Key for SubscriptionKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Subscription;
    type Row = SubscriptionRow;

    fn encode(&self) -> Vec<u8> {
        Writer::subscription(self.subscription, Self::KIND).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let subscription = key.subscription(Self::KIND)?;
        key.end()?;
        Some(Self { subscription })
    }
}

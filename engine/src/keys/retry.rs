//! A message that has failed or waits: `department | queue | kind | subscription | lane | sequence`.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{Lane, SubscriptionRef},
    kv::Family,
    schema::RetryRow,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryKey {
    /// Whose.
    pub subscription: SubscriptionRef,
    /// Its lane.
    pub lane: Lane,
    /// The message's sequence.
    pub sequence: u64,
}

impl Key for RetryKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Retry;
    type Row = RetryRow;

    fn encode(&self) -> Vec<u8> {
        Writer::subscription(self.subscription, Self::KIND).u8(self.lane.0).u64(self.sequence).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let subscription = key.subscription(Self::KIND)?;
        let (lane, sequence) = (Lane(key.u8()?), key.u64()?);
        key.end()?;
        Some(Self { subscription, lane, sequence })
    }
}

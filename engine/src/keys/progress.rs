//! How far a lease is settled: `department | queue | kind | subscription | lease` -> per index its outcome.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{LeaseId, SubscriptionRef},
    kv::Family,
    schema::ProgressRow,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressKey {
    /// Whose.
    pub subscription: SubscriptionRef,
    /// The lease.
    pub lease: LeaseId,
}

impl Key for ProgressKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Progress;
    type Row = ProgressRow;

    fn encode(&self) -> Vec<u8> {
        Writer::subscription(self.subscription, Self::KIND).u64(self.lease.0).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let subscription = key.subscription(Self::KIND)?;
        let lease = LeaseId(key.u64()?);
        key.end()?;
        Some(Self { subscription, lease })
    }
}

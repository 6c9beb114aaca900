//! A lease: `department | queue | kind | subscription | lease` -> what was granted, immutable.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{LeaseId, SubscriptionRef},
    kv::Family,
    schema::LeaseRow,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseKey {
    /// Whose.
    pub subscription: SubscriptionRef,
    /// The lease.
    pub lease: LeaseId,
}

impl Key for LeaseKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::Lease;
    type Row = LeaseRow;

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

//! Closed leases in the order they are forgotten: `department | queue | kind | subscription | closed at | lease`.

use super::{
    Key, Kind,
    parts::{Reader, Writer},
};
use crate::{
    ids::{LeaseId, SubscriptionRef},
    kv::Family,
};

/// See the file's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedLeaseKey {
    /// Whose.
    pub subscription: SubscriptionRef,
    /// When it closed, Unix milliseconds.
    pub closed_at_ms: u64,
    /// The lease.
    pub lease: LeaseId,
}

impl Key for ClosedLeaseKey {
    const FAMILY: Family = Family::State;
    const KIND: Kind = Kind::ClosedLease;
    type Row = ();

    fn encode(&self) -> Vec<u8> {
        Writer::subscription(self.subscription, Self::KIND).u64(self.closed_at_ms).u64(self.lease.0).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        let subscription = key.subscription(Self::KIND)?;
        let (closed_at_ms, lease) = (key.u64()?, LeaseId(key.u64()?));
        key.end()?;
        Some(Self { subscription, closed_at_ms, lease })
    }
}

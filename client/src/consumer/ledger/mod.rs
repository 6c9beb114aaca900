//! The leases of this consumer, and the credits that the server has.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use foldhash::fast::RandomState;
use posthouse_proto::v1;
use tokio::time::Instant;

use crate::time;

/// Counts the credits that the server has, which return when deliveries are settled, and knows when each lease ends. It
/// reads no clock and uses no network.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: v1::Credit,
    /// Credits that are free again and not yet returned to the server.
    owed: v1::Credit,
    /// Indexed by [`Lease::slot`], so that a delivery needs no search.
    records: Vec<Option<LeaseRecord>>,
    free: Vec<u32>,
    /// Slots of the deliveries of earlier streams by token, until this stream has resumed its leases. The hash need not
    /// resist attacks, because the server chooses the tokens.
    resumable: HashMap<Bytes, u32, RandomState>,
}

/// The lease of a delivery: its token, and its slot in the ledger. It may outlive its record.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Lease {
    pub(super) token: Bytes,
    pub(super) slot: u32,
}

/// Whether a received delivery is new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// The application does not have it; its record is in this slot.
    New(u32),
    /// An earlier stream has delivered it.
    Resumed,
    /// An earlier stream has delivered it, and its lease was marked as lost.
    Revived,
}

#[derive(Debug)]
struct LeaseRecord {
    token: Bytes,
    bytes: u64,
    /// Whether it uses credits of the current stream. A delivery of an earlier stream uses none until the server sends
    /// it again.
    charged: bool,
    /// The application has settled it, and the server has not confirmed.
    settling: bool,
    /// When the lease was granted, or its last extension was requested.
    renewed_at: Instant,
    /// When it last waited in the inbox.
    waiting_at: Instant,
    /// When the lease ends unless it is extended, as far as the client knows.
    lease_end: Instant,
    /// The lease is lost, and the application can see that.
    lost: bool,
}

impl Ledger {
    pub(super) fn new(limit: v1::Credit) -> Self {
        let (records, free, resumable) = (Vec::new(), Vec::new(), HashMap::default());
        Self { limit, owed: v1::Credit::default(), records, free, resumable }
    }

    /// Starts the count for a new stream, and returns its credits: all of them.
    pub(super) fn begin_stream(&mut self) -> v1::Credit {
        self.resumable.clear();
        for (slot, record) in (0..).zip(&mut self.records) {
            if let Some(record) = record {
                record.charged = false;
                self.resumable.insert(record.token.clone(), slot);
            }
        }
        self.owed = v1::Credit::default();
        self.limit
    }

    /// Records a delivery. `lease` is the full duration of a lease; the server says how much is left of this one.
    pub(super) fn deliver(&mut self, delivery: &v1::Delivery, now: Instant, lease: Duration) -> Arrival {
        let left = time::lease_time_left(delivery);
        let bytes = delivery.message.as_ref().map_or(0, |message| message.payload.len() as u64);
        let resumable = self.find_resumable(&delivery.token);
        let Some(record) = resumable.and_then(|lease| find(&mut self.records, &lease)) else {
            if !delivery.resumed {
                // The server sends resumed deliveries first; they may be fewer than it announced.
                self.resumable.clear();
            }
            return Arrival::New(self.insert(LeaseRecord {
                token: delivery.token.clone(),
                bytes,
                charged: true,
                settling: false,
                renewed_at: left.map_or(now, |left| granted_at(now, lease, left)),
                waiting_at: now,
                lease_end: now + left.unwrap_or(lease),
                lost: false,
            }));
        };
        if !record.charged {
            record.charged = true;
            if record.settling {
                return_credit(&mut self.owed, record);
            }
        }
        match left {
            Some(left) => {
                record.lease_end = now + left;
                record.renewed_at = record.renewed_at.min(granted_at(now, lease, left));
            }
            // The lease is valid now; the answer to its next extension says for how long.
            None => record.lease_end = record.lease_end.max(now + lease / 3),
        }
        if std::mem::take(&mut record.lost) { Arrival::Revived } else { Arrival::Resumed }
    }

    /// Records a settlement, and returns whether its lease was marked as lost.
    pub(super) fn settle(&mut self, lease: &Lease) -> bool {
        let owed = &mut self.owed;
        let Some(record) = find(&mut self.records, lease).filter(|record| !record.settling) else {
            return false;
        };
        record.settling = true;
        if record.charged {
            return_credit(owed, record);
        }
        record.lost
    }

    /// Records that these deliveries wait in the inbox, and that their leases are being extended.
    pub(super) fn mark_waiting(&mut self, leases: &[Lease], now: Instant) {
        for lease in leases {
            if let Some(record) = find(&mut self.records, lease) {
                (record.renewed_at, record.waiting_at) = (now, now);
            }
        }
    }

    /// Returns the leases of deliveries that the application has had for less than `limit` and that were renewed more
    /// than `age` ago, and records that they are being extended.
    pub(super) fn collect_due(&mut self, now: Instant, age: Duration, limit: Duration) -> Vec<Lease> {
        let mut due = Vec::new();
        for (slot, record) in occupied(&mut self.records) {
            let worked_on = !record.settling && !record.lost && now.duration_since(record.waiting_at) < limit;
            if worked_on && now.duration_since(record.renewed_at) > age {
                record.renewed_at = now;
                due.push(Lease { token: record.token.clone(), slot });
            }
        }
        due
    }

    /// Records an extension, and returns whether the lease was marked as lost.
    pub(super) fn extended(&mut self, lease: &Lease, until: Instant) -> bool {
        let Some(record) = find(&mut self.records, lease) else { return false };
        record.lease_end = record.lease_end.max(until);
        std::mem::take(&mut record.lost)
    }

    /// Marks a lease as lost, and returns whether that is news for the application.
    pub(super) fn lose(&mut self, lease: &Lease) -> bool {
        let record = find(&mut self.records, lease).filter(|record| !record.settling && !record.lost);
        record.is_some_and(|record| {
            record.lost = true;
            true
        })
    }

    /// Marks leases that have ended as lost, and returns their tokens, and when the next lease ends.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<Bytes>, Option<Instant>) {
        let (mut expired, mut next) = (Vec::new(), None::<Instant>);
        for (_, record) in occupied(&mut self.records).filter(|(_, record)| !record.settling && !record.lost)
        {
            if record.lease_end <= now {
                record.lost = true;
                expired.push(record.token.clone());
            } else {
                next = Some(next.map_or(record.lease_end, |next| next.min(record.lease_end)));
            }
        }
        (expired, next)
    }

    /// Removes a lease that the server has settled, or that was lost before the application had it.
    pub(super) fn remove(&mut self, lease: &Lease) {
        self.settle(lease);
        if find(&mut self.records, lease).is_some() {
            self.records[lease.slot as usize] = None;
            self.free.push(lease.slot);
        }
    }

    /// Ends the resumption of leases, and returns those that this stream did not resume.
    pub(super) fn finish_resuming(&mut self) -> Vec<Lease> {
        self.resumable.clear();
        let left = occupied(&mut self.records).filter(|(_, record)| !record.charged && !record.settling);
        left.map(|(slot, record)| Lease { token: record.token.clone(), slot }).collect()
    }

    /// Whether there is no lease.
    pub(super) fn is_empty(&self) -> bool {
        self.records.len() == self.free.len()
    }

    /// How many unconfirmed settlements there may be before credits are held back.
    pub(super) fn max_unconfirmed(&self) -> usize {
        (self.limit.messages as usize).saturating_mul(4)
    }

    pub(super) fn is_owed(&self) -> bool {
        self.owed.messages > 0 || self.owed.bytes > 0
    }

    /// Whether so many credits are free that they should be returned at once.
    pub(super) fn is_much_owed(&self) -> bool {
        self.is_owed()
            && (u64::from(self.owed.messages) * 4 >= u64::from(self.limit.messages)
                || self.owed.bytes * 4 >= self.limit.bytes)
    }

    pub(super) fn drain_owed(&mut self) -> v1::Credit {
        std::mem::take(&mut self.owed)
    }

    fn find_resumable(&self, token: &Bytes) -> Option<Lease> {
        if self.resumable.is_empty() {
            return None;
        }
        self.resumable.get(token).map(|slot| Lease { token: token.clone(), slot: *slot })
    }

    fn insert(&mut self, record: LeaseRecord) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = Some(record);
            return slot;
        }
        self.records.push(Some(record));
        // The credits bound the number of records.
        u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
    }
}

/// The record of a lease; none if it was removed, even if its slot is used again.
fn find<'a>(records: &'a mut [Option<LeaseRecord>], lease: &Lease) -> Option<&'a mut LeaseRecord> {
    records.get_mut(lease.slot as usize)?.as_mut().filter(|record| same_bytes(&record.token, &lease.token))
}

/// In most cases both are the same slice of one frame. Comparing addresses first avoids reading bytes that are no
/// longer in the processor's caches.
fn same_bytes(one: &Bytes, other: &Bytes) -> bool {
    (one.as_ptr(), one.len()) == (other.as_ptr(), other.len()) || one == other
}

/// When a lease was granted or extended, if `left` of its duration `lease` is left.
fn granted_at(now: Instant, lease: Duration, left: Duration) -> Instant {
    now.checked_sub(lease.saturating_sub(left)).unwrap_or(now)
}

fn occupied(records: &mut [Option<LeaseRecord>]) -> impl Iterator<Item = (u32, &mut LeaseRecord)> {
    (0..).zip(records).filter_map(|(slot, record)| Some((slot, record.as_mut()?)))
}

fn return_credit(owed: &mut v1::Credit, record: &LeaseRecord) {
    owed.messages = owed.messages.saturating_add(1);
    owed.bytes = owed.bytes.saturating_add(record.bytes);
}

#[cfg(test)]
mod tests;

//! Which deliveries are out, and what the server may still send.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use foldhash::fast::RandomState;
use posthouse_proto::v1;
use tokio::time::Instant;

use crate::time;

/// Credits are lent to the server and come back as deliveries are settled; leases are kept while somebody works under
/// them. It knows no clock and no network.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: v1::Credit,
    /// Came back and is not yet given out again.
    owed: v1::Credit,
    /// By [`Lease::slot`]: what every delivery needs several times costs no search.
    records: Vec<Option<LeaseRecord>>,
    free: Vec<u32>,
    /// Of the deliveries of earlier streams, until this one has resumed what it resumes. The server chooses the tokens,
    /// so that a hash which is only fast is good enough.
    resumable: HashMap<Bytes, u32, RandomState>,
}

/// A delivery of this consumer: its token, and where the ledger has it. It may outlive what the ledger has.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Lease {
    pub(super) token: Bytes,
    pub(super) slot: u32,
}

/// What a delivery is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Arrival {
    /// The application does not have it yet. Its slot is this.
    New(u32),
    /// It was delivered on an earlier stream.
    Resumed,
    /// So it was, and its lease had been taken for lost.
    Revived,
}

#[derive(Debug)]
struct LeaseRecord {
    token: Bytes,
    bytes: u64,
    /// The current stream's credits were taken for it. A delivery of an earlier stream takes them when the server
    /// sends it again, and has nothing to give back if it does not.
    charged: bool,
    /// The application is done with it; only the server's confirmation is missing.
    settling: bool,
    /// When its lease was granted, or an extension last asked for.
    renewed_at: Instant,
    /// When it was last seen waiting for the application.
    waiting_at: Instant,
    /// When its lease ends unless it is extended, as far as we know.
    lease_end: Instant,
    /// The lease has ended, and the application was told.
    lost: bool,
}

impl Ledger {
    pub(super) fn new(limit: v1::Credit) -> Self {
        let (records, free, resumable) = (Vec::new(), Vec::new(), HashMap::default());
        Self { limit, owed: v1::Credit::default(), records, free, resumable }
    }

    /// What a new stream begins with: everything.
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

    /// A delivery came. Leases last so long; how much is left of this one, the server says.
    pub(super) fn deliver(&mut self, delivery: &v1::Delivery, now: Instant, lease: Duration) -> Arrival {
        let left = time::left(delivery);
        let bytes = delivery.message.as_ref().map_or(0, |message| message.payload.len() as u64);
        let resumable = self.find_resumable(&delivery.token);
        let Some(record) = resumable.and_then(|lease| find(&mut self.records, &lease)) else {
            if !delivery.resumed {
                // What is resumed comes before what is new. Fewer may have come than were announced.
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
            // It is good now; how much longer is told by the extension that is asked for next.
            None => record.lease_end = record.lease_end.max(now + lease / 3),
        }
        if std::mem::take(&mut record.lost) { Arrival::Revived } else { Arrival::Resumed }
    }

    /// The application settles it; `true`: its lease was lost before.
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

    /// These still wait for the application, and are being extended for that reason.
    pub(super) fn mark_waiting(&mut self, leases: &[Lease], now: Instant) {
        for lease in leases {
            if let Some(record) = find(&mut self.records, lease) {
                (record.renewed_at, record.waiting_at) = (now, now);
            }
        }
    }

    /// Those that the application works on, for no longer than `limit`, and whose lease is older than `age`; they count
    /// as asked for now.
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

    /// The lease lasts until then, or longer; `true`: it had been taken for lost.
    pub(super) fn extended(&mut self, lease: &Lease, until: Instant) -> bool {
        let Some(record) = find(&mut self.records, lease) else { return false };
        record.lease_end = record.lease_end.max(until);
        std::mem::take(&mut record.lost)
    }

    /// The server says that the lease is gone; `true`: the application has to be told.
    pub(super) fn lose(&mut self, lease: &Lease) -> bool {
        let record = find(&mut self.records, lease).filter(|record| !record.settling && !record.lost);
        record.is_some_and(|record| {
            record.lost = true;
            true
        })
    }

    /// The deliveries whose lease has ended by now, and when the next one ends.
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

    /// The server confirmed, or the lease is lost and the application never had it.
    pub(super) fn remove(&mut self, lease: &Lease) {
        self.settle(lease);
        if find(&mut self.records, lease).is_some() {
            self.records[lease.slot as usize] = None;
            self.free.push(lease.slot);
        }
    }

    /// The stream has resumed all that it resumes. Returns what an earlier one delivered and this one has not.
    pub(super) fn finish_resuming(&mut self) -> Vec<Lease> {
        self.resumable.clear();
        let left = occupied(&mut self.records).filter(|(_, record)| !record.charged && !record.settling);
        left.map(|(slot, record)| Lease { token: record.token.clone(), slot }).collect()
    }

    /// No delivery is out.
    pub(super) fn is_empty(&self) -> bool {
        self.records.len() == self.free.len()
    }

    /// How many settlements may wait for their confirmation before credits are held back.
    pub(super) fn max_unconfirmed(&self) -> usize {
        (self.limit.messages as usize).saturating_mul(4)
    }

    pub(super) fn is_owed(&self) -> bool {
        self.owed.messages > 0 || self.owed.bytes > 0
    }

    /// Whether so much came back that it should be given out again at once.
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
        // The credits bound their number.
        u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
    }
}

/// What is held under a lease; none if it was removed, also if another has its slot now.
fn find<'a>(records: &'a mut [Option<LeaseRecord>], lease: &Lease) -> Option<&'a mut LeaseRecord> {
    records.get_mut(lease.slot as usize)?.as_mut().filter(|record| same_bytes(&record.token, &lease.token))
}

/// Mostly both are one piece of the frame they came in, which the processor's caches have forgotten: so it is not read.
fn same_bytes(one: &Bytes, other: &Bytes) -> bool {
    (one.as_ptr(), one.len()) == (other.as_ptr(), other.len()) || one == other
}

/// When a lease of which so much is left was granted or extended, at the latest now.
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

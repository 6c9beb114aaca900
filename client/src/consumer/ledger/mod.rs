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
    held: Vec<Option<Held>>,
    free: Vec<u32>,
    /// Of the deliveries of earlier streams, until this one has resumed what it resumes. The server chooses the tokens,
    /// so that a hash which is only fast is good enough.
    earlier: HashMap<Bytes, u32, RandomState>,
}

/// A delivery of this consumer: its token, and where the ledger has it. It may outlive what the ledger has.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Lease {
    pub(super) token: Bytes,
    pub(super) slot: u32,
}

/// What a delivery is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    /// The application does not have it yet. Its slot is this.
    New(u32),
    /// It was delivered on an earlier stream.
    Again,
    /// So it was, and its lease had been taken for lost.
    Revived,
}

#[derive(Debug)]
struct Held {
    token: Bytes,
    bytes: u64,
    /// The current stream's credits were taken for it. A delivery of an earlier stream takes them when the server
    /// sends it again, and has nothing to give back if it does not.
    charged: bool,
    /// The application is done with it; only the server's confirmation is missing.
    settling: bool,
    /// When its lease was granted, or an extension last asked for.
    asked: Instant,
    /// When it was last seen waiting for the application.
    waited: Instant,
    /// When its lease ends unless it is extended, as far as we know.
    lease_end: Instant,
    /// The lease has ended, and the application was told.
    lost: bool,
}

impl Ledger {
    pub(super) fn new(limit: v1::Credit) -> Self {
        let (held, free, earlier) = (Vec::new(), Vec::new(), HashMap::default());
        Self { limit, owed: v1::Credit::default(), held, free, earlier }
    }

    /// What a new stream begins with: everything.
    pub(super) fn open(&mut self) -> v1::Credit {
        self.earlier.clear();
        for (slot, held) in (0..).zip(&mut self.held) {
            if let Some(held) = held {
                held.charged = false;
                self.earlier.insert(held.token.clone(), slot);
            }
        }
        self.owed = v1::Credit::default();
        self.limit
    }

    /// A delivery came. Leases last so long; how much is left of this one, the server says.
    pub(super) fn deliver(&mut self, delivery: &v1::Delivery, now: Instant, lease: Duration) -> Known {
        let left = time::left(delivery);
        let bytes = delivery.message.as_ref().map_or(0, |message| message.payload.len() as u64);
        let earlier = self.earlier(&delivery.token);
        let Some(held) = earlier.and_then(|lease| find(&mut self.held, &lease)) else {
            if !delivery.resumed {
                // What is resumed comes before what is new. Fewer may have come than were announced.
                self.earlier.clear();
            }
            return Known::New(self.hold(Held {
                token: delivery.token.clone(),
                bytes,
                charged: true,
                settling: false,
                asked: left.map_or(now, |left| granted(now, lease, left)),
                waited: now,
                lease_end: now + left.unwrap_or(lease),
                lost: false,
            }));
        };
        if !held.charged {
            held.charged = true;
            if held.settling {
                return_credit(&mut self.owed, held);
            }
        }
        match left {
            Some(left) => {
                held.lease_end = now + left;
                held.asked = held.asked.min(granted(now, lease, left));
            }
            // It is good now; how much longer is told by the extension that is asked for next.
            None => held.lease_end = held.lease_end.max(now + lease / 3),
        }
        if std::mem::take(&mut held.lost) { Known::Revived } else { Known::Again }
    }

    /// The application settles it; `true`: its lease was lost before.
    pub(super) fn settle(&mut self, lease: &Lease) -> bool {
        let owed = &mut self.owed;
        let Some(held) = find(&mut self.held, lease).filter(|held| !held.settling) else { return false };
        held.settling = true;
        if held.charged {
            return_credit(owed, held);
        }
        held.lost
    }

    /// These still wait for the application, and are being extended for that reason.
    pub(super) fn mark_waiting(&mut self, leases: &[Lease], now: Instant) {
        for lease in leases {
            if let Some(held) = find(&mut self.held, lease) {
                (held.asked, held.waited) = (now, now);
            }
        }
    }

    /// Those that the application works on, for no longer than `limit`, and whose lease is older than `age`; they count
    /// as asked for now.
    pub(super) fn collect_due(&mut self, now: Instant, age: Duration, limit: Duration) -> Vec<Lease> {
        let mut due = Vec::new();
        for (slot, held) in all(&mut self.held) {
            let worked_on = !held.settling && !held.lost && now.duration_since(held.waited) < limit;
            if worked_on && now.duration_since(held.asked) > age {
                held.asked = now;
                due.push(Lease { token: held.token.clone(), slot });
            }
        }
        due
    }

    /// The lease lasts until then, or longer; `true`: it had been taken for lost.
    pub(super) fn extended(&mut self, lease: &Lease, until: Instant) -> bool {
        let Some(held) = find(&mut self.held, lease) else { return false };
        held.lease_end = held.lease_end.max(until);
        std::mem::take(&mut held.lost)
    }

    /// The server says that the lease is gone; `true`: the application has to be told.
    pub(super) fn lose(&mut self, lease: &Lease) -> bool {
        let held = find(&mut self.held, lease).filter(|held| !held.settling && !held.lost);
        held.is_some_and(|held| {
            held.lost = true;
            true
        })
    }

    /// The deliveries whose lease has ended by now, and when the next one ends.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<Bytes>, Option<Instant>) {
        let (mut expired, mut next) = (Vec::new(), None::<Instant>);
        for (_, held) in all(&mut self.held).filter(|(_, held)| !held.settling && !held.lost) {
            if held.lease_end <= now {
                held.lost = true;
                expired.push(held.token.clone());
            } else {
                next = Some(next.map_or(held.lease_end, |next| next.min(held.lease_end)));
            }
        }
        (expired, next)
    }

    /// The server confirmed, or the lease is lost and the application never had it.
    pub(super) fn remove(&mut self, lease: &Lease) {
        self.settle(lease);
        if find(&mut self.held, lease).is_some() {
            self.held[lease.slot as usize] = None;
            self.free.push(lease.slot);
        }
    }

    /// The stream has resumed all that it resumes. Returns what an earlier one delivered and this one has not.
    pub(super) fn resumed(&mut self) -> Vec<Lease> {
        self.earlier.clear();
        let left = all(&mut self.held).filter(|(_, held)| !held.charged && !held.settling);
        left.map(|(slot, held)| Lease { token: held.token.clone(), slot }).collect()
    }

    /// No delivery is out.
    pub(super) fn is_empty(&self) -> bool {
        self.held.len() == self.free.len()
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

    fn earlier(&self, token: &Bytes) -> Option<Lease> {
        if self.earlier.is_empty() {
            return None;
        }
        self.earlier.get(token).map(|slot| Lease { token: token.clone(), slot: *slot })
    }

    fn hold(&mut self, held: Held) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.held[slot as usize] = Some(held);
            return slot;
        }
        self.held.push(Some(held));
        // The credits bound their number.
        u32::try_from(self.held.len() - 1).unwrap_or(u32::MAX)
    }
}

/// What is held under a lease; none if it was removed, also if another has its slot now.
fn find<'a>(held: &'a mut [Option<Held>], lease: &Lease) -> Option<&'a mut Held> {
    held.get_mut(lease.slot as usize)?.as_mut().filter(|held| same(&held.token, &lease.token))
}

/// Mostly both are one piece of the frame they came in, which the processor's caches have forgotten: so it is not read.
fn same(one: &Bytes, other: &Bytes) -> bool {
    (one.as_ptr(), one.len()) == (other.as_ptr(), other.len()) || one == other
}

/// When a lease of which so much is left was granted or extended, at the latest now.
fn granted(now: Instant, lease: Duration, left: Duration) -> Instant {
    now.checked_sub(lease.saturating_sub(left)).unwrap_or(now)
}

fn all(held: &mut [Option<Held>]) -> impl Iterator<Item = (u32, &mut Held)> {
    (0..).zip(held).filter_map(|(slot, held)| Some((slot, held.as_mut()?)))
}

fn return_credit(owed: &mut v1::Credit, held: &Held) {
    owed.messages = owed.messages.saturating_add(1);
    owed.bytes = owed.bytes.saturating_add(held.bytes);
}

#[cfg(test)]
mod tests;

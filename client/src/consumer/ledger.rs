//! Which deliveries are out, and what the server may still send.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use foldhash::fast::RandomState;
use posthouse_proto::v1;
use tokio::time::Instant;

/// Credits are lent to the server and come back as deliveries are settled; leases are kept while somebody works under
/// them. It knows no clock and no network.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: v1::Credit,
    /// Came back and is not yet given out again.
    owed: v1::Credit,
    /// By token. The server chooses those, so that a hash which is only fast is good enough.
    held: HashMap<Bytes, Held, RandomState>,
}

/// What a delivery is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    /// The application does not have it yet.
    New,
    /// It was delivered on an earlier stream.
    Again,
    /// So it was, and its lease had been taken for lost.
    Revived,
}

#[derive(Debug)]
struct Held {
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
        Self { limit, owed: v1::Credit::default(), held: HashMap::default() }
    }

    /// What a new stream begins with: everything.
    pub(super) fn open(&mut self) -> v1::Credit {
        for held in self.held.values_mut() {
            held.charged = false;
        }
        self.owed = v1::Credit::default();
        self.limit
    }

    /// A delivery came.
    pub(super) fn deliver(&mut self, delivery: &v1::Delivery, now: Instant, lease: Duration) -> Known {
        let bytes = delivery.message.as_ref().map_or(0, |message| message.payload.len() as u64);
        let Some(held) = self.held.get_mut(&delivery.token) else {
            let held = Held {
                bytes,
                charged: true,
                settling: false,
                asked: now,
                waited: now,
                lease_end: now + lease,
                lost: false,
            };
            self.held.insert(delivery.token.clone(), held);
            return Known::New;
        };
        if !held.charged {
            held.charged = true;
            if held.settling {
                give_back(&mut self.owed, held);
            }
        }
        // It is good now; how much longer is told by the extension that is asked for next.
        held.lease_end = held.lease_end.max(now + lease / 3);
        if std::mem::take(&mut held.lost) { Known::Revived } else { Known::Again }
    }

    /// The application settles it; `true`: its lease was lost before.
    pub(super) fn settle(&mut self, token: &Bytes) -> bool {
        let Some(held) = self.held.get_mut(token).filter(|held| !held.settling) else { return false };
        held.settling = true;
        if held.charged {
            give_back(&mut self.owed, held);
        }
        held.lost
    }

    /// These still wait for the application, and are being extended for that reason.
    pub(super) fn note_waiting(&mut self, tokens: &[Bytes], now: Instant) {
        for token in tokens {
            if let Some(held) = self.held.get_mut(token) {
                (held.asked, held.waited) = (now, now);
            }
        }
    }

    /// Those that the application works on, for no longer than `limit`, and whose lease is older than `age`; they count
    /// as asked for now.
    pub(super) fn take_due(&mut self, now: Instant, age: Duration, limit: Duration) -> Vec<Bytes> {
        let mut due = Vec::new();
        for (token, held) in &mut self.held {
            let worked_on = !held.settling && !held.lost && now.duration_since(held.waited) < limit;
            if worked_on && now.duration_since(held.asked) > age {
                held.asked = now;
                due.push(token.clone());
            }
        }
        due
    }

    /// The lease lasts until then, or longer; `true`: it had been taken for lost.
    pub(super) fn extended(&mut self, token: &Bytes, until: Instant) -> bool {
        let Some(held) = self.held.get_mut(token) else { return false };
        held.lease_end = held.lease_end.max(until);
        std::mem::take(&mut held.lost)
    }

    /// The server says that the lease is gone; `true`: the application has to be told.
    pub(super) fn lose(&mut self, token: &Bytes) -> bool {
        let held = self.held.get_mut(token).filter(|held| !held.settling && !held.lost);
        held.is_some_and(|held| {
            held.lost = true;
            true
        })
    }

    /// The deliveries whose lease has ended by now, and when the next one ends.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<Bytes>, Option<Instant>) {
        let (mut expired, mut next) = (Vec::new(), None::<Instant>);
        for (token, held) in self.held.iter_mut().filter(|(_, held)| !held.settling && !held.lost) {
            if held.lease_end <= now {
                held.lost = true;
                expired.push(token.clone());
            } else {
                next = Some(next.map_or(held.lease_end, |next| next.min(held.lease_end)));
            }
        }
        (expired, next)
    }

    /// The server confirmed, or the lease is lost and the application never had it.
    pub(super) fn remove(&mut self, token: &Bytes) {
        self.settle(token);
        self.held.remove(token);
    }

    /// Tokens that an earlier stream delivered and the current one has not sent again.
    pub(super) fn not_resumed(&self) -> impl Iterator<Item = &Bytes> {
        self.held.iter().filter(|(_, held)| !held.charged && !held.settling).map(|(token, _)| token)
    }

    /// No delivery is out.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
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

    pub(super) fn take_owed(&mut self) -> v1::Credit {
        std::mem::take(&mut self.owed)
    }
}

fn give_back(owed: &mut v1::Credit, held: &Held) {
    owed.messages = owed.messages.saturating_add(1);
    owed.bytes = owed.bytes.saturating_add(held.bytes);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use posthouse_proto::v1::{Credit, Delivery, Message};

    use tokio::time::Instant;

    use super::{Duration, Known, Ledger};

    const LEASE: Duration = Duration::from_secs(30);

    fn deliver(ledger: &mut Ledger, token: &'static str) -> bool {
        ledger.deliver(&delivery(token), Instant::now(), LEASE) == Known::New
    }

    fn delivery(token: &'static str) -> Delivery {
        let message = Message { payload: Bytes::from_static(&[7; 10]), ..Message::default() };
        Delivery { token: token.into(), message: Some(message), ..Delivery::default() }
    }

    fn credit(messages: u32, bytes: u64) -> Credit {
        Credit { messages, bytes }
    }

    #[test]
    fn credits_come_back_once() {
        let mut ledger = Ledger::new(credit(4, 100));
        assert_eq!(ledger.open(), credit(4, 100));
        assert!(deliver(&mut ledger, "a") && deliver(&mut ledger, "b"));
        assert!(!ledger.is_owed());
        ledger.settle(&"a".into());
        assert!(ledger.is_much_owed());
        ledger.remove(&"a".into());
        assert_eq!(ledger.take_owed(), credit(1, 10));
        ledger.remove(&"b".into());
        assert_eq!(ledger.take_owed(), credit(1, 10));
        ledger.remove(&"b".into());
        assert!(!ledger.is_owed());
    }

    #[test]
    fn a_resumed_delivery_is_known_and_charged_again() {
        let mut ledger = Ledger::new(credit(4, 100));
        ledger.open();
        for token in ["held", "settling", "lost"] {
            assert!(deliver(&mut ledger, token));
        }
        ledger.settle(&"settling".into());
        ledger.open();
        assert!(!ledger.is_owed());
        assert!(!deliver(&mut ledger, "held") && !deliver(&mut ledger, "settling"));
        assert_eq!(ledger.not_resumed().collect::<Vec<_>>(), ["lost"]);
        // The credit of the one in settlement is free at once, that of the held one when it is settled, and the
        // lost one took none of this stream.
        assert_eq!(ledger.take_owed(), credit(1, 10));
        ledger.settle(&"held".into());
        assert_eq!(ledger.take_owed(), credit(1, 10));
        ledger.settle(&"lost".into());
        assert!(!ledger.is_owed());
    }

    #[test]
    fn leases_are_kept_while_they_are_worked_under() {
        let (mut ledger, start) = (Ledger::new(credit(9, 100)), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let (age, limit) = (LEASE / 3, Duration::from_secs(60));
        for token in ["waits", "worked-on", "settling"] {
            ledger.deliver(&delivery(token), start, LEASE);
        }
        ledger.settle(&"settling".into());
        assert!(ledger.take_due(after(9), age, limit).is_empty());
        ledger.note_waiting(&["waits".into()], after(11));
        assert_eq!(ledger.take_due(after(11), age, limit), ["worked-on"]);
        assert!(ledger.take_due(after(12), age, limit).is_empty(), "it was asked for");
        assert!(!ledger.extended(&"worked-on".into(), after(41)));
        assert_eq!(ledger.expire(after(29)), (Vec::new(), Some(after(30))));
        assert_eq!(ledger.expire(after(30)), (vec!["waits".into()], Some(after(41))));
        assert_eq!(ledger.deliver(&delivery("waits"), after(31), LEASE), Known::Revived);
        assert_eq!(ledger.expire(after(41)).0.len(), 2);
        assert!(ledger.take_due(after(61), age, limit).is_empty(), "long enough");
        assert!(!ledger.lose(&"waits".into()), "it was told");
        assert!(ledger.extended(&"waits".into(), after(90)), "good after all");
        assert!(ledger.lose(&"waits".into()) && ledger.settle(&"waits".into()));
        assert!(!ledger.settle(&"waits".into()));
    }
}

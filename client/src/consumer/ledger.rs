//! Which deliveries are out, and what the server may still send.

use std::collections::HashMap;

use bytes::Bytes;
use posthouse_proto::v1;

/// Credits are lent to the server and come back as deliveries are settled. It knows no clock and no network.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: v1::Credit,
    /// Came back and is not yet given out again.
    owed: v1::Credit,
    held: HashMap<Bytes, Held>,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    /// The current stream's credits were taken for it. A delivery of an earlier stream takes them when the server
    /// sends it again, and has nothing to give back if it does not.
    charged: bool,
    /// The application is done with it; only the server's confirmation is missing.
    settling: bool,
}

impl Ledger {
    pub(super) fn new(limit: v1::Credit) -> Self {
        Self { limit, owed: v1::Credit::default(), held: HashMap::new() }
    }

    /// What a new stream begins with: everything.
    pub(super) fn open(&mut self) -> v1::Credit {
        for held in self.held.values_mut() {
            held.charged = false;
        }
        self.owed = v1::Credit::default();
        self.limit
    }

    /// A delivery came; `true`: the application does not have it yet.
    pub(super) fn deliver(&mut self, delivery: &v1::Delivery) -> bool {
        let bytes = delivery.message.as_ref().map_or(0, |message| message.payload.len() as u64);
        let Some(held) = self.held.get_mut(&delivery.token) else {
            let held = Held { bytes, charged: true, settling: false };
            self.held.insert(delivery.token.clone(), held);
            return true;
        };
        if !held.charged {
            held.charged = true;
            if held.settling {
                give_back(&mut self.owed, held);
            }
        }
        false
    }

    /// The application settles it.
    pub(super) fn settle(&mut self, token: &Bytes) {
        if let Some(held) = self.held.get_mut(token)
            && !held.settling
        {
            held.settling = true;
            if held.charged {
                give_back(&mut self.owed, held);
            }
        }
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

    use super::Ledger;

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
        assert!(ledger.deliver(&delivery("a")) && ledger.deliver(&delivery("b")));
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
            assert!(ledger.deliver(&delivery(token)));
        }
        ledger.settle(&"settling".into());
        ledger.open();
        assert!(!ledger.is_owed());
        assert!(!ledger.deliver(&delivery("held")) && !ledger.deliver(&delivery("settling")));
        assert_eq!(ledger.not_resumed().collect::<Vec<_>>(), ["lost"]);
        // The credit of the one in settlement is free at once, that of the held one when it is settled, and the
        // lost one took none of this stream.
        assert_eq!(ledger.take_owed(), credit(1, 10));
        ledger.settle(&"held".into());
        assert_eq!(ledger.take_owed(), credit(1, 10));
        ledger.settle(&"lost".into());
        assert!(!ledger.is_owed());
    }
}

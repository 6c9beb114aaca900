//! One subscription's sessions, and the outcomes of the grants proposed for them.

use posthouse_engine::{
    halt::Halt,
    ids::SubscriptionRef,
    kv::Kv,
    machine::ShardMachine,
    outcome::{Granted, LiveDelivery},
    schema::Holder,
};

use self::{idle::Idle, sessions::Sessions};
use super::{
    pick::Picker,
    returns::Returns,
    session::{Credit, Leased, Session, SessionEvent, SessionKey, SessionOpen},
};

pub(crate) use rounds::Coming;

mod idle;
mod sessions;
mod rounds;

#[derive(Default)]
pub(crate) struct Subscription {
    sessions: Sessions,
    picker: Picker,
    /// Messages that are stored and picked, and whose grants are not applied.
    picked: u64,
    /// How often the picks of all proposed grants became void.
    rewound: u64,
    idle: Idle,
    /// The sequence up to which the batches on their way lease the messages that they store; 0 if they lease none.
    ahead: u64,
    returns: Returns,
}

/// What was picked, and for which session, until the grant is applied.
pub(crate) struct GrantTag {
    pub(crate) subscription: SubscriptionRef,
    pub(crate) holder: Holder,
    key: SessionKey,
    /// Sequence and size, ascending by sequence.
    picked: Vec<(u64, u32)>,
    /// Whether the same batch stores them.
    ahead: bool,
    /// See [`Subscription`].
    rewound: u64,
}

impl Subscription {
    pub(crate) fn open(
        &mut self,
        open: SessionOpen,
        draining: bool,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<(), Halt> {
        let at = open.subscription;
        let mut live = machine.live_leases(kv, at, &open.holder)?;
        live.retain(|live| !self.returns.include(&open.holder, live));
        let mut session = Session::new(open);
        let mut resumed = Vec::with_capacity(live.len());
        for live in live {
            let size = if session.counts_bytes() {
                self.picker.size(at, machine, kv, live.item.sequence)?
            } else {
                0
            };
            resumed.push(Leased { live, size });
        }
        session.charge(&resumed);
        session.notify(SessionEvent::Resumed(resumed));
        if draining {
            session.notify(SessionEvent::Drain);
        }
        let key = session.key;
        if let Some(older) = self.sessions.add(session) {
            older.notify(SessionEvent::TakenOver);
        }
        self.idle.has_come(key);
        Ok(())
    }

    pub(crate) fn add_credit(&mut self, key: SessionKey, credit: Credit) {
        self.sessions.change(key, |session| session.add(credit));
        self.idle.has_come(key);
    }

    /// Leases nothing more to a stream.
    pub(crate) fn stop(&mut self, key: SessionKey) {
        self.sessions.change(key, Session::stop);
    }

    /// The holder of a stream that is still its session's newest.
    pub(crate) fn holder(&self, key: SessionKey) -> Option<Holder> {
        Some(self.sessions.get(key)?.holder.clone())
    }

    /// The holder, if this stream was still its session's newest.
    pub(crate) fn close(&mut self, key: SessionKey) -> Option<Holder> {
        Some(self.sessions.remove(key)?.holder)
    }

    /// The leases that its holders return, until that is applied.
    pub(crate) fn returns(&mut self) -> &mut Returns {
        &mut self.returns
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.sessions.is_empty() && self.returns.is_empty()
    }

    pub(crate) fn returned(&mut self, sequences: Vec<u64>) {
        self.picker.returned(sequences);
    }

    pub(crate) fn rewind(&mut self) {
        self.picker = Picker::default();
        self.picked = 0;
        self.rewound += 1;
    }

    pub(crate) fn notify_all(&self, event: &SessionEvent) {
        self.sessions.notify_all(event);
    }

    pub(crate) fn end_all(&mut self, event: &SessionEvent) {
        self.notify_all(event);
        self.sessions.clear();
    }

    /// Delivers granted messages to their session, or to the stream that has resumed it. Returns those that could not
    /// be delivered.
    pub(crate) fn granted(&mut self, tag: &GrantTag, granted: Option<Granted>) -> Option<Granted> {
        self.decided(tag);
        if granted.as_ref().is_none_or(|granted| granted.items.len() < tag.picked.len()) {
            self.ahead = 0;
        }
        let Some(newest) = self.sessions.newest(tag.key, &tag.holder) else { return granted };
        let items = granted.as_ref().map_or(&[][..], |g| &g.items);
        let same_stream = newest == tag.key;
        if same_stream && items.len() < tag.picked.len() {
            let missing = |(sequence, _): &&(u64, u32)| {
                items.binary_search_by_key(sequence, |item| item.sequence).is_err()
            };
            let missing: Vec<u32> = tag.picked.iter().filter(missing).map(|(_, size)| *size).collect();
            self.refund(newest, &missing);
        }
        let granted = granted.filter(|g| !g.items.is_empty())?;
        let leased = |live: LiveDelivery| {
            let picked = tag.picked.binary_search_by_key(&live.item.sequence, |(sequence, _)| *sequence);
            let size = picked.ok().and_then(|at| tag.picked.get(at)).map_or(0, |(_, size)| *size);
            Leased { live, size }
        };
        let deliveries: Vec<_> = granted.deliveries().map(leased).collect();
        if !same_stream {
            self.sessions.change(newest, |session| session.charge(&deliveries));
        }
        let notified = self.sessions.get(newest).is_some_and(|s| s.notify(SessionEvent::Granted(deliveries)));
        if !notified {
            // Its handler has ended, and the event of its end is on its way here.
            self.sessions.change(newest, Session::stop);
        }
        if notified { None } else { Some(granted) }
    }

    /// The log refused a grant: its messages are picked again later, and its credit is refunded.
    pub(crate) fn not_logged(&mut self, tag: &GrantTag) {
        self.decided(tag);
        self.ahead = 0;
        let sizes: Vec<u32> = tag.picked.iter().map(|(_, size)| *size).collect();
        self.refund(tag.key, &sizes);
        // The messages that were to be stored with it were not stored: messages of these sequences are others.
        if !tag.ahead {
            self.picker.returned(tag.picked.iter().map(|(sequence, _)| *sequence).collect());
        }
    }

    /// A grant is applied, or will not be.
    fn decided(&mut self, tag: &GrantTag) {
        if !tag.ahead && tag.rewound == self.rewound {
            self.picked = self.picked.saturating_sub(tag.picked.len() as u64);
        }
    }

    /// Gives back the credit of messages of these sizes that were not granted.
    fn refund(&mut self, key: SessionKey, sizes: &[u32]) {
        self.sessions.change(key, |session| sizes.iter().for_each(|size| session.refund(*size)));
        self.idle.has_come(key);
    }
}

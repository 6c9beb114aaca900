//! One subscription's sessions, and what comes of what was picked for them.

use posthouse_engine::{
    halt::Halt,
    ids::SubscriptionRef,
    kv::Kv,
    machine::ShardMachine,
    outcome::{Granted, LiveDelivery},
    schema::Holder,
};

use super::{
    pick::Picker,
    returns::Returns,
    session::{Credit, Leased, Session, SessionEvent, SessionKey, SessionOpen},
};

pub(crate) use turns::Coming;

mod turns;

#[derive(Default)]
pub(crate) struct Subscription {
    sessions: Vec<Session>,
    turn: usize,
    picker: Picker,
    /// The sequence up to which the batches that are under way lease what they store; 0 if they do not.
    ahead: u64,
    returns: Returns,
}

/// What was picked for whom, until the grant is applied.
pub(crate) struct GrantTag {
    pub(crate) subscription: SubscriptionRef,
    pub(crate) holder: Holder,
    key: SessionKey,
    /// Sequence and size, ascending by sequence.
    picked: Vec<(u64, u32)>,
    /// They are stored by the same batch.
    ahead: bool,
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
        for old in self.sessions.extract_if(.., |s| s.holder == open.holder) {
            old.tell(SessionEvent::TakenOver);
        }
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
        session.tell(SessionEvent::Resumed(resumed));
        if draining {
            session.tell(SessionEvent::Drain);
        }
        self.sessions.push(session);
        Ok(())
    }

    pub(crate) fn add_credit(&mut self, key: SessionKey, credit: Credit) {
        if let Some(session) = self.sessions.iter_mut().find(|s| s.key == key) {
            session.add(credit);
        }
    }

    /// Leases nothing more to a stream.
    pub(crate) fn stop(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.iter_mut().find(|s| s.key == key) {
            session.stop();
        }
    }

    /// The holder of a stream that is still its session's newest.
    pub(crate) fn holder(&self, key: SessionKey) -> Option<Holder> {
        Some(self.sessions.iter().find(|s| s.key == key)?.holder.clone())
    }

    /// The holder, if this stream was still its session's newest.
    pub(crate) fn close(&mut self, key: SessionKey) -> Option<Holder> {
        let at = self.sessions.iter().position(|s| s.key == key)?;
        Some(self.sessions.remove(at).holder)
    }

    /// What its holders give back, until that is applied.
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
    }

    pub(crate) fn tell_all(&self, event: &SessionEvent) {
        for session in &self.sessions {
            session.tell(event.clone());
        }
    }

    pub(crate) fn end_all(&mut self, event: &SessionEvent) {
        self.tell_all(event);
        self.sessions.clear();
    }

    /// Delivers what was granted to its session, or to the stream that has taken it over. What could not be delivered
    /// comes back.
    pub(crate) fn granted(&mut self, tag: &GrantTag, granted: Option<Granted>) -> Option<Granted> {
        if granted.as_ref().is_none_or(|granted| granted.items.len() < tag.picked.len()) {
            self.ahead = 0;
        }
        let newest = self.sessions.iter_mut().find(|s| s.key == tag.key || s.holder == tag.holder);
        let Some(session) = newest else { return granted };
        let items = granted.as_ref().map_or(&[][..], |g| &g.items);
        let same_stream = session.key == tag.key;
        if same_stream {
            for (sequence, size) in &tag.picked {
                if items.binary_search_by_key(sequence, |item| item.sequence).is_err() {
                    session.give_back(*size);
                }
            }
        }
        let granted = granted.filter(|g| !g.items.is_empty())?;
        let leased = |live: LiveDelivery| {
            let picked = tag.picked.binary_search_by_key(&live.item.sequence, |(sequence, _)| *sequence);
            let size = picked.ok().and_then(|at| tag.picked.get(at)).map_or(0, |(_, size)| *size);
            Leased { live, size }
        };
        let deliveries: Vec<_> = granted.deliveries().map(leased).collect();
        if !same_stream {
            session.charge(&deliveries);
        }
        if session.tell(SessionEvent::Granted(deliveries)) { None } else { Some(granted) }
    }

    /// The log did not take a grant: its messages are picked again later, its credit is given back.
    pub(crate) fn not_taken(&mut self, tag: &GrantTag) {
        self.ahead = 0;
        if let Some(session) = self.sessions.iter_mut().find(|s| s.key == tag.key) {
            tag.picked.iter().for_each(|(_, size)| session.give_back(*size));
        }
        // What was to be stored with it was not stored: if there are messages of these sequences, they are others.
        if !tag.ahead {
            self.picker.returned(tag.picked.iter().map(|(sequence, _)| *sequence).collect());
        }
    }

    /// Tells the streams once, each time nothing is ready and nothing is leased any more.
    pub(crate) fn tell_idle(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<(), Halt> {
        let Some(counts) = machine.counts(kv, at)? else { return Ok(()) };
        let idle = counts.ready == 0 && counts.in_flight == 0;
        for session in &mut self.sessions {
            if idle {
                session.tell_idle(counts.waiting, counts.parked);
            } else {
                session.not_idle();
            }
        }
        Ok(())
    }
}

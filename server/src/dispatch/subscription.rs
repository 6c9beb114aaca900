//! One subscription's sessions, and the turn they take.

use posthouse_engine::{
    halt::Halt,
    ids::{DEFAULT_LANE, SubscriptionRef},
    kv::Kv,
    machine::ShardMachine,
    outcome::{Granted, LiveDelivery},
    schema::{Command, Grant, Holder},
};

use super::{
    pick::Picker,
    session::{Credit, Leased, Session, SessionEvent, SessionKey, SessionOpen},
};
use crate::shard::Reply;

/// Messages picked for one session in one turn: few enough to share a short queue.
const TURN: usize = 256;
/// The same while about so many are ready for every session: they are read from the disk in one piece.
const LONG_TURN: usize = 512;

#[derive(Default)]
pub(crate) struct Subscription {
    sessions: Vec<Session>,
    turn: usize,
    picker: Picker,
    /// The sequence up to which the batches that are under way lease what they store; 0 if they do not.
    ahead: u64,
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

/// How the sessions take turns.
#[derive(Clone, Copy)]
struct Turn {
    /// For one session at once.
    messages: usize,
    most_commands: usize,
    /// See [`Grant`].
    next_sequence: u64,
}

/// Messages of one queue that the next batch stores.
pub(crate) struct Coming {
    /// How many others are in the log before them, and not yet stored.
    pub(crate) under_way: u64,
    /// Bytes of their payloads.
    pub(crate) sizes: Vec<u32>,
    /// For so many grants the batch has room.
    pub(crate) most_grants: usize,
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
        let live = machine.live_leases(kv, at, &open.holder)?;
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

    /// The holder, if this stream was still its session's newest.
    pub(crate) fn close(&mut self, key: SessionKey) -> Option<Holder> {
        let at = self.sessions.iter().position(|s| s.key == key)?;
        Some(self.sessions.remove(at).holder)
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.sessions.is_empty()
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

    /// Picks for one session after the other, until nothing is ready or nobody has credit.
    pub(crate) fn pump(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        commands: &mut Vec<(Command, Reply)>,
    ) -> Result<(), Halt> {
        let ready = machine.counts(kv, at)?.map_or(0, |counts| counts.ready);
        let long = ready >= (self.sessions.len() * LONG_TURN) as u64;
        let messages = if long { LONG_TURN } else { TURN };
        let turn = Turn { messages, most_commands: usize::MAX, next_sequence: 0 };
        self.turns(at, turn, commands, |picker, session, want| picker.pick(at, machine, kv, session, want))
    }

    /// Leases messages that the next batch stores, from `first` on if all that is under way is stored. Only if whatever is
    /// before them is leased: who has credit then would get them next anyway.
    pub(crate) fn lease_ahead(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        first: u64,
        coming: &Coming,
        commands: &mut Vec<(Command, Reply)>,
    ) -> Result<(), Halt> {
        let Coming { under_way, ref sizes, most_grants } = *coming;
        let in_turn = under_way == 0 || self.ahead == first;
        self.ahead = 0;
        let has_credit = self.sessions.iter().any(|session| session.messages() > 0);
        if !in_turn || !has_credit || self.picker.is_ready(at, machine, kv)? {
            return Ok(());
        }
        let mut rest = (first..).zip(sizes.iter().copied()).peekable();
        let after = first + sizes.len() as u64;
        let most = commands.len() + most_grants;
        self.turns(
            at,
            Turn { messages: TURN, most_commands: most, next_sequence: after },
            commands,
            |_, session, want| {
                let mut picked = Vec::new();
                while picked.len() < want
                    && let Some((sequence, size)) = rest.peek()
                {
                    let size = if session.counts_bytes() { *size } else { 0 };
                    if !session.take(size) {
                        break;
                    }
                    picked.push((*sequence, size));
                    rest.next();
                }
                Ok(picked)
            },
        )?;
        self.ahead = rest.peek().map_or(after, |(sequence, _)| *sequence);
        Ok(())
    }

    /// Lets one session after the other pick, until nobody picks any more.
    fn turns(
        &mut self,
        at: SubscriptionRef,
        turn: Turn,
        commands: &mut Vec<(Command, Reply)>,
        mut pick: impl FnMut(&mut Picker, &mut Session, usize) -> Result<Vec<(u64, u32)>, Halt>,
    ) -> Result<(), Halt> {
        let mut passed = 0;
        while passed < self.sessions.len() && commands.len() < turn.most_commands {
            self.turn %= self.sessions.len();
            let Some(session) = self.sessions.get_mut(self.turn) else { break };
            self.turn += 1;
            let want = session.messages().min(turn.messages);
            if want == 0 {
                passed += 1;
                continue;
            }
            let picked = pick(&mut self.picker, session, want)?;
            if picked.is_empty() {
                passed += 1;
                continue;
            }
            passed = 0;
            commands.push(grant(at, session, picked, turn.next_sequence));
        }
        Ok(())
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

fn grant(
    at: SubscriptionRef,
    session: &Session,
    mut picked: Vec<(u64, u32)>,
    next_sequence: u64,
) -> (Command, Reply) {
    picked.sort_unstable();
    let command = Command::Grant(Grant {
        department: at.queue.department.0,
        queue: at.queue.queue.0,
        subscription: at.subscription.0,
        lane: u32::from(DEFAULT_LANE.0),
        holder: Some(session.holder.clone()),
        sequences: picked.iter().map(|(sequence, _)| *sequence).collect(),
        duration_ms: session.lease_duration_ms,
        nonce: rand::random(),
        next_sequence,
    });
    let (holder, ahead) = (session.holder.clone(), next_sequence > 0);
    let tag = GrantTag { subscription: at, holder, key: session.key, picked, ahead };
    (command, Reply::Grant(Box::new(tag)))
}

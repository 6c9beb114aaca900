//! One shard on this node: its machine, the batches on their way, and its dispatch.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use posthouse_engine::{
    body,
    halt::Halt,
    ids::{ShardId, SubscriptionRef},
    limits::MAX_SETTLE_ITEMS,
    machine::{Applied, ShardMachine},
    outcome::{LiveDelivery, Outcome},
    schema::{Advance, Batch, Command, LeaderStarted},
    tally::Tally,
};
use tracing::error;

use super::{
    Query, Reply, ShardError, StartShard,
    halted::{HaltedBy, Stop, guarded},
    pending::{InFlight, Pending, decode_batch, proposal_prefix},
    worker::Context,
};
use crate::{
    dispatch::{Coming, Dispatch, SessionEvent, SessionKey, SessionOpen},
    log::{Entry, GroupId, ProposeError},
    observe::{Observer, observe},
};

/// Timers fired by one `Advance`.
const ADVANCE_MAX: u32 = 1_000;
/// Queues whose state a shard keeps in memory, those used last.
const MAX_IDLE_QUEUES: usize = 1_024;
/// Up to this many messages in this batch and in the last ones, this thread may write a batch to the log itself,
/// instead of waking the log's thread and being woken by it. With more, its time is better used than by waiting for the
/// disk.
const LITTLE_MESSAGES: usize = 64;
/// The most bytes of a batch that a grant of one round takes.
const GRANT_BYTES: usize = 4 << 10;
/// How long an `Advance` that the log refused waits, so that a full disk is not asked without a pause.
const ADVANCE_PAUSE_MS: u64 = 500;

pub(crate) struct Replica {
    pub(crate) shard: ShardId,
    machine: ShardMachine,
    /// The last batch that the store has: what the log may forget. The machine also counts one that halted it.
    applied_index: u64,
    halted: Option<Stop>,
    pending: Pending,
    in_flight: VecDeque<InFlight>,
    /// Messages of the largest of the last batches, less for each batch since.
    recent_messages: usize,
    pub(crate) dispatch: Dispatch,
    observer: Arc<Observer>,
    next_deadline_ms: Option<u64>,
    advancing: bool,
    /// No `Advance` before this.
    advance_from_ms: u64,
}

impl Replica {
    pub(crate) fn new(start: StartShard, context: &Context) -> Self {
        let StartShard { shard, machine, applied_index, halted } = start;
        let mut replica = Self {
            shard,
            machine,
            applied_index,
            halted: None,
            pending: Pending::default(),
            in_flight: VecDeque::new(),
            recent_messages: 0,
            dispatch: Dispatch::default(),
            observer: Arc::clone(&context.observer),
            next_deadline_ms: None,
            advancing: false,
            advance_from_ms: 0,
        };
        match halted {
            Some(by) => replica.halt_by(&by),
            None => replica.read_deadline(context),
        }
        replica.propose(Command::LeaderStarted(LeaderStarted {}), Reply::Nobody);
        replica
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.applied_index
    }

    pub(crate) fn propose(&mut self, command: Command, reply: Reply) {
        match &self.halted {
            Some(stop) => answer(reply, Err(ShardError::Halted(stop.clone()))),
            None if is_too_long(&command) => answer(reply, Err(ShardError::TooLarge)),
            None => self.pending.push(command, reply),
        }
    }

    pub(crate) fn query(&mut self, context: &Context, query: Query) {
        if let Some(stop) = &self.halted {
            return query(Err(ShardError::Halted(stop.clone())));
        }
        let run = AssertUnwindSafe(|| query(Ok((&mut self.machine, &*context.store))));
        if catch_unwind(run).is_err() {
            self.halt(Stop::Panic);
        }
    }

    /// Evicts the state of queues that nobody uses: it is read again when it is needed.
    pub(crate) fn evict_idle(&mut self) {
        self.machine.evict_idle(MAX_IDLE_QUEUES);
    }

    /// When this shard next wants to be woken.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let due = self.next_deadline_ms.filter(|_| !self.advancing && self.halted.is_none())?;
        Some(due.max(self.advance_from_ms))
    }

    /// Lets dispatch pick messages to lease, and proposes the gathered commands. `alone`: no other shard of this thread
    /// is about to propose, so no other batch could be synced together with this one.
    pub(crate) fn flush(&mut self, context: &Context, alone: bool) {
        if self.halted.is_some() {
            return;
        }
        let now = context.clock.now();
        let now_ms = now.stamp_ms;
        if self.deadline_ms().is_some_and(|due| due <= now_ms) && !context.clock.expiry_halted() {
            // The timer known here may have been deleted since.
            self.read_deadline(context);
            if self.deadline_ms().is_some_and(|due| due <= now_ms) {
                self.advancing = true;
                self.advance_from_ms = now_ms.saturating_add(ADVANCE_PAUSE_MS);
                self.pending.push(Command::Advance(Advance { max: ADVANCE_MAX }), Reply::Advance);
            }
        }
        if let Err(stop) = guarded(|| self.pick(context)) {
            return self.halt(stop);
        }
        while let Some((in_flight, data)) =
            self.pending.next_batch(self.shard, now, context.next_proposal_id())
        {
            let id = in_flight.proposal_id;
            let more = !self.in_flight.is_empty() || !self.pending.is_empty();
            self.recent_messages = in_flight.messages().max(self.recent_messages * 3 / 4);
            let here = alone && !more && self.recent_messages <= LITTLE_MESSAGES;
            self.in_flight.push_back(in_flight);
            let group = GroupId(self.shard.0);
            let proposed = match here {
                true => context.log.propose_inline(group, data),
                false => context.log.propose(group, data),
            };
            if let Err(why) = proposed {
                self.refused(id, &why);
            }
        }
    }

    /// Whether a flush has left something for the next, which should be soon.
    pub(crate) fn has_more(&self) -> bool {
        self.halted.is_none() && self.dispatch.has_more()
    }

    /// Lets dispatch lease what is there, and then what the next batch stores.
    fn pick(&mut self, context: &Context) -> Result<(), Halt> {
        let (dispatch, machine, kv) = (&mut self.dispatch, &mut self.machine, &*context.store);
        for (command, reply) in dispatch.pump(machine, kv)? {
            self.pending.push(command, reply);
        }
        for (queue, sizes) in self.pending.coming(|queue| dispatch.knows(queue)) {
            let under_way = self.in_flight.iter().filter_map(|batch| batch.stores.get(&queue)).sum();
            // A lease must not be in a later batch than its message: others would be leased in between.
            let coming = Coming { under_way, sizes, max_grants: self.pending.capacity(GRANT_BYTES) };
            for (command, reply) in dispatch.lease_ahead(queue, &coming, machine, kv)? {
                self.pending.push(command, reply);
            }
        }
        Ok(())
    }

    /// The log refused a proposal: nothing of it was stored.
    pub(crate) fn refused(&mut self, proposal_id: u64, why: &ProposeError) {
        let Some(at) = self.in_flight.iter().position(|f| f.proposal_id == proposal_id) else { return };
        let Some(in_flight) = self.in_flight.remove(at) else { return };
        let error = match why {
            ProposeError::Full => ShardError::DiskFull,
            ProposeError::Busy => ShardError::Overloaded,
            ProposeError::TooLarge { .. } => ShardError::TooLarge,
            ProposeError::Closed => ShardError::Stopping,
        };
        for reply in in_flight.replies {
            self.reply(reply, Err(error.clone()));
        }
    }

    /// Applies one synced entry.
    pub(crate) fn committed(&mut self, context: &Context, entry: &Entry) {
        if self.halted.is_some() {
            return;
        }
        let own = self.in_flight.front().is_some_and(|f| f.proposal_id == proposal_prefix(&entry.data));
        let (decoded, replies) = match self.in_flight.pop_front_if(|_| own) {
            Some(in_flight) => {
                let shard = &self.observer.metrics.shard;
                observe(&shard.commit, in_flight.proposed_at.elapsed());
                shard.commands.observe(in_flight.replies.len() as f64);
                (Ok(in_flight.batch), in_flight.replies)
            }
            None => (decode_batch(entry.data.clone()), Vec::new()),
        };
        let decoded = decoded.map_err(|why| Stop::Undecodable(why.to_string()));
        match decoded.and_then(|batch| self.apply(context, entry.index, batch)) {
            Err(stop) => {
                replies.into_iter().for_each(|reply| answer(reply, Err(ShardError::Halted(stop.clone()))));
                self.halt_by(&HaltedBy::new(entry, stop));
            }
            Ok((outcomes, advanced)) => {
                let mut outcomes = outcomes.into_iter();
                for reply in replies {
                    let outcome = outcomes.next().ok_or_else(|| {
                        let missing = Halt::Invariant("an outcome is missing".to_owned());
                        ShardError::Halted(Stop::Halt(missing))
                    });
                    self.reply(reply, outcome);
                }
                if advanced {
                    self.read_deadline(context);
                }
            }
        }
    }

    /// A consumer's stream opens: it is sent what it still holds, before anything new.
    pub(crate) fn open_session(&mut self, context: &Context, open: SessionOpen) {
        if self.halted.is_some() {
            return drop(open.events.send(SessionEvent::Halted));
        }
        let (dispatch, machine) = (&mut self.dispatch, &mut self.machine);
        if let Err(stop) = guarded(|| dispatch.open(open, machine, &*context.store)) {
            self.halt(stop);
        }
    }

    /// A stream is at its end: it gets nothing more, and what did not leave the server goes back.
    pub(crate) fn stop_session(
        &mut self,
        subscription: SubscriptionRef,
        key: SessionKey,
        unsent: &[LiveDelivery],
    ) {
        let commands = self.dispatch.stop(subscription, key, unsent);
        commands.into_iter().for_each(|(command, reply)| self.propose(command, reply));
    }

    /// Returns the leases of a stream that it does not send.
    pub(crate) fn return_leases(
        &mut self,
        subscription: SubscriptionRef,
        key: SessionKey,
        unsent: &[LiveDelivery],
    ) {
        let commands = self.dispatch.return_leases(subscription, key, unsent);
        commands.into_iter().for_each(|(command, reply)| self.propose(command, reply));
    }

    /// A stream has ended; `clean`: its leases are released.
    pub(crate) fn close_session(&mut self, subscription: SubscriptionRef, key: SessionKey, clean: bool) {
        if let Some((command, reply)) = self.dispatch.close(subscription, key, clean) {
            self.propose(command, reply);
        }
    }

    fn apply(&mut self, context: &Context, index: u64, batch: Batch) -> Result<(Vec<Outcome>, bool), Stop> {
        let machine = &mut self.machine;
        let begun = Instant::now();
        let applied = guarded(|| machine.apply(&*context.store, index, batch))?;
        let Applied { writes, outcomes, effects, usages, tally, deadline_ms } = applied;
        context.write(&writes);
        for (department, usage) in usages {
            context.usages.set(department, usage);
        }
        self.applied_index = index;
        self.count(begun.elapsed(), tally);
        self.next_deadline_ms = earlier(self.next_deadline_ms, deadline_ms);
        context.bodies.put_all(body::stored(writes));
        self.dispatch.perform(effects);
        Ok((outcomes, self.advancing))
    }

    fn count(&self, duration: Duration, tally: Tally) {
        let shard = &self.observer.metrics.shard;
        observe(&shard.apply, duration);
        shard.expired.inc_by(tally.expired);
        shard.moved.inc_by(tally.moved);
        shard.parked.inc_by(tally.parked);
    }

    fn reply(&mut self, reply: Reply, outcome: Result<Outcome, ShardError>) {
        match reply {
            Reply::Grant(tag) => {
                for (command, reply) in self.dispatch.granted(&tag, outcome) {
                    self.pending.push(command, reply);
                }
            }
            Reply::Return(tag) => self.dispatch.returned_by(tag),
            Reply::Advance => {
                self.advancing = false;
                if outcome.is_ok() {
                    self.advance_from_ms = 0;
                }
            }
            Reply::Caller(_) | Reply::Publisher(..) | Reply::Nobody => answer(reply, outcome),
        }
    }

    fn read_deadline(&mut self, context: &Context) {
        match self.machine.next_deadline(&*context.store) {
            Ok(due) => self.next_deadline_ms = due,
            Err(why) => self.halt(Stop::Halt(why.into())),
        }
    }

    /// An entry of its log has halted this shard.
    fn halt_by(&mut self, by: &HaltedBy) {
        by.log(self.shard);
        self.stop(by.stop.clone());
    }

    /// Something else than an entry of its log has halted this shard.
    fn halt(&mut self, stop: Stop) {
        error!(
            shard = self.shard.0,
            reason = stop.label(),
            why = %stop,
            "shard halted: it takes no more commands until the server is restarted"
        );
        self.stop(stop);
    }

    /// This shard accepts nothing more; the rest of the node goes on.
    fn stop(&mut self, stop: Stop) {
        for in_flight in std::mem::take(&mut self.in_flight) {
            in_flight
                .replies
                .into_iter()
                .for_each(|reply| answer(reply, Err(ShardError::Halted(stop.clone()))));
        }
        self.pending.drain_all().for_each(|reply| answer(reply, Err(ShardError::Halted(stop.clone()))));
        self.dispatch.halted();
        self.observer.readiness.halted(self.shard, stop.label());
        self.halted = Some(stop);
    }
}

fn answer(reply: Reply, outcome: Result<Outcome, ShardError>) {
    let caller = match reply {
        Reply::Caller(caller) => caller,
        Reply::Publisher(caller, pass) => {
            drop(pass);
            caller
        }
        Reply::Grant(_) | Reply::Return(_) | Reply::Advance | Reply::Nobody => return,
    };
    // A caller that has left needs no answer.
    drop(caller.send(outcome));
}

fn earlier(known: Option<u64>, new: Option<u64>) -> Option<u64> {
    match (known, new) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Whether the engine would treat the command as a fault of the leader: once it is in the log, it would halt the shard
/// at every start.
fn is_too_long(command: &Command) -> bool {
    match command {
        Command::Settle(settle) => settle.deliveries() > MAX_SETTLE_ITEMS,
        Command::Extend(extend) => extend.tokens.len() > MAX_SETTLE_ITEMS,
        _ => false,
    }
}

//! A shard with a department and a queue, with short helpers for commands.

use bytes::Bytes;
use posthouse_engine::{
    body,
    check::check,
    effect::Effect,
    ids::{DEFAULT_LANE, DEFAULT_SUBSCRIPTION, DepartmentId, QueueRef, ShardId, SubscriptionRef},
    keys,
    kv::{Family, Kv, MemKv},
    limits::MACHINE_VERSION,
    machine::ShardMachine,
    outcome::{
        Advanced, Counts, CreateQueueError, ExtendOutcome, Granted, Outcome, PublishError, Published,
        QueueView, RedriveError, RedriveOutcome, Redriven, SettleOutcome,
    },
    schema::{
        Advance, Batch, BodyHeader, Command, CommandRecord, ConfigureDepartment, CreateQueue, Extend, Grant,
        Holder, LeaderStarted, Publish, PublishEntry, QueueSettings, RedriveDeadLetters, ReleaseHolder,
        Settle, SettleItem, SettleKind, TokenRef, UpdateQueue,
    },
    views::{MessageStatus, Stats, Usage},
};

pub const DEPARTMENT: u32 = 1;
pub const START: u64 = 1_000_000;

pub struct Shard {
    pub kv: MemKv,
    pub machine: ShardMachine,
    pub now: u64,
    /// How far the wall clock is ahead of `now`, milliseconds.
    pub wall_ahead: i64,
    /// The version of the machine that proposes.
    pub version: u32,
    /// The effects of the last command.
    pub effects: Vec<Effect>,
    /// Whether rows are checked after each step: not where there are very many.
    pub checked: bool,
}

/// The answer in an outcome of a kind.
macro_rules! answer {
    ($outcome:expr, $kind:ident) => {
        match $outcome {
            Outcome::$kind(answer) => answer,
            other => panic!("{other:?}"),
        }
    };
}
pub(crate) use answer;

impl Shard {
    pub fn new() -> Self {
        let kv = MemKv::default();
        let machine = ShardMachine::hydrate(ShardId(0), &kv).unwrap();
        let (now, wall_ahead, version) = (START, 0, MACHINE_VERSION);
        let mut shard = Self { kv, machine, now, wall_ahead, version, effects: Vec::new(), checked: true };
        shard.run(Command::LeaderStarted(LeaderStarted {}));
        shard.configure(1, false);
        shard
    }

    /// With a queue of these settings.
    pub fn with(settings: QueueSettings) -> (Self, QueueRef) {
        let mut shard = Self::new();
        let queue = shard.create("applications", settings);
        (shard, queue)
    }

    pub fn run(&mut self, command: Command) -> Outcome {
        self.run_all(vec![command]).pop().unwrap()
    }

    /// Runs commands in one batch.
    pub fn run_all(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let batch = Batch {
            shard: 0,
            machine_version: self.version,
            now_ms: self.now,
            commands: commands.into_iter().map(|command| CommandRecord { command: Some(command) }).collect(),
            proposal_id: 0,
            wall_ms: self.now.saturating_add_signed(self.wall_ahead),
        };
        let index = self.machine.applied_index() + 1;
        let applied = self.machine.apply(&self.kv, index, batch).unwrap();
        self.kv.write(&applied.writes);
        if self.checked {
            self.check();
        }
        self.effects = applied.effects;
        applied.outcomes
    }

    pub fn check(&self) {
        check(ShardId(0), &self.kv).unwrap();
    }

    pub fn restart(&mut self) {
        self.machine = ShardMachine::hydrate(ShardId(0), &self.kv).unwrap();
    }

    pub fn configure(&mut self, catalogue_index: u64, closed: bool) -> bool {
        let command = ConfigureDepartment { department: DEPARTMENT, catalogue_index, tenant: 7, closed };
        answer!(self.run(Command::ConfigureDepartment(command)), ConfigureDepartment)
    }

    pub fn try_create(&mut self, name: &str, settings: QueueSettings) -> Result<QueueView, CreateQueueError> {
        let (name, settings) = (name.into(), Some(settings));
        let command = CreateQueue { department: DEPARTMENT, name, settings, ..CreateQueue::default() };
        answer!(self.run(Command::CreateQueue(command)), CreateQueue)
    }

    pub fn create(&mut self, name: &str, settings: QueueSettings) -> QueueRef {
        let view = self.try_create(name, settings).unwrap();
        QueueRef { department: view.department, queue: view.queue }
    }

    pub fn update(&mut self, name: &str, settings: QueueSettings) -> QueueView {
        let (name, settings) = (name.into(), Some(settings));
        let command =
            UpdateQueue { department: DEPARTMENT, name, settings, expected_revision: 0, request: None };
        answer!(self.run(Command::UpdateQueue(command)), UpdateQueue).unwrap()
    }

    pub fn try_publish(&mut self, command: Publish) -> Result<Published, PublishError> {
        answer!(self.run(Command::Publish(command)), Publish)
    }

    /// Publishes without a producer session.
    pub fn publish(&mut self, queue: QueueRef, contents: &[&str]) -> Published {
        self.try_publish(publish(queue, contents)).unwrap()
    }

    pub fn grant(&mut self, queue: QueueRef, who: &Holder, sequences: &[u64], duration_ms: u64) -> Granted {
        self.run_grant(Grant { duration_ms, ..grant(queue, who, sequences) })
    }

    /// A grant that expects the queue's next sequence to be this.
    pub fn grant_if_next(&mut self, queue: QueueRef, who: &Holder, sequences: &[u64], next: u64) -> Granted {
        self.run_grant(Grant { next_sequence: next, ..grant(queue, who, sequences) })
    }

    fn run_grant(&mut self, command: Grant) -> Granted {
        answer!(self.run(Command::Grant(command)), Grant).unwrap()
    }

    pub fn settle_all(
        &mut self,
        queue: QueueRef,
        who: &Holder,
        items: Vec<SettleItem>,
    ) -> Vec<SettleOutcome> {
        let (department, queue) = (queue.department.0, queue.queue.0);
        let holder = Some(who.clone());
        let command = Settle { department, queue, subscription: DEFAULT_SUBSCRIPTION.0, holder, items };
        answer!(self.run(Command::Settle(command)), Settle).unwrap()
    }

    pub fn settle(
        &mut self,
        queue: QueueRef,
        who: &Holder,
        token: TokenRef,
        kind: SettleKind,
    ) -> SettleOutcome {
        self.settle_all(queue, who, vec![item(token, kind, 0)]).pop().unwrap()
    }

    pub fn extend(
        &mut self,
        queue: QueueRef,
        who: &Holder,
        tokens: &[TokenRef],
        duration_ms: u64,
    ) -> Vec<ExtendOutcome> {
        let command = Extend {
            department: queue.department.0,
            queue: queue.queue.0,
            subscription: DEFAULT_SUBSCRIPTION.0,
            holder: Some(who.clone()),
            tokens: tokens.to_vec(),
            duration_ms,
        };
        answer!(self.run(Command::Extend(command)), Extend).unwrap()
    }

    pub fn release(&mut self, queue: QueueRef, who: &Holder) -> u32 {
        let (department, queue, holder) = (queue.department.0, queue.queue.0, Some(who.clone()));
        let command = ReleaseHolder { department, queue, subscription: DEFAULT_SUBSCRIPTION.0, holder };
        answer!(self.run(Command::ReleaseHolder(command)), ReleaseHolder).unwrap()
    }

    pub fn advance(&mut self, max: u32) -> Advanced {
        answer!(self.run(Command::Advance(Advance { max })), Advance)
    }

    /// Lets time pass and fires the timers that are due.
    pub fn pass(&mut self, ms: u64) -> Advanced {
        self.now += ms;
        self.advance(1_000)
    }

    pub fn free(&mut self, queue: QueueRef) -> Vec<u64> {
        self.machine.free_from(&self.kv, default(queue), 0, 1_000).unwrap().sequences
    }

    pub fn counts(&mut self, queue: QueueRef) -> Counts {
        self.machine.counts(&self.kv, default(queue)).unwrap().unwrap()
    }

    pub fn stats(&mut self, queue: QueueRef) -> Stats {
        self.machine.stats(&self.kv, default(queue)).unwrap().unwrap()
    }

    pub fn usage(&mut self) -> Usage {
        self.machine.department_usage(&self.kv, department()).unwrap().unwrap()
    }

    pub fn status(&mut self, queue: QueueRef, sequence: u64) -> MessageStatus {
        self.machine.message_status(&self.kv, default(queue), sequence).unwrap().unwrap()
    }

    /// The sequences of all dead letters, in pages of two.
    pub fn dead_letters(&mut self, queue: QueueRef) -> Vec<u64> {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let page = self.machine.dead_letters(&self.kv, default(queue), at, 2).unwrap().unwrap();
            found.extend(page.found.into_iter().map(|status| status.sequence));
            from = page.next;
        }
        found
    }

    pub fn try_redrive(
        &mut self,
        queue: QueueRef,
        sequences: &[u64],
        target: u32,
    ) -> Result<Vec<RedriveOutcome>, RedriveError> {
        let command = RedriveDeadLetters {
            department: queue.department.0,
            queue: queue.queue.0,
            subscription: DEFAULT_SUBSCRIPTION.0,
            sequences: sequences.to_vec(),
            target_queue: target,
            ..RedriveDeadLetters::default()
        };
        self.run_redrive(command).map(|redriven| redriven.outcomes)
    }

    pub fn run_redrive(&mut self, command: RedriveDeadLetters) -> Result<Redriven, RedriveError> {
        answer!(self.run(Command::RedriveDeadLetters(command)), RedriveDeadLetters)
    }

    /// Redrives dead letters to the queues they came from.
    pub fn redrive(&mut self, queue: QueueRef, sequences: &[u64]) -> Vec<RedriveOutcome> {
        self.try_redrive(queue, sequences, 0).unwrap()
    }

    /// One message fails once.
    pub fn fail(&mut self, queue: QueueRef, sequence: u64) {
        let granted = self.grant(queue, &holder("a"), &[sequence], 5_000);
        self.settle(queue, &holder("a"), token(&granted, 0), SettleKind::Nack);
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.machine.next_deadline(&self.kv).unwrap()
    }

    pub fn body(&self, queue: QueueRef, sequence: u64) -> Option<(BodyHeader, Bytes)> {
        let stored = self.kv.get(Family::Body, &keys::body(queue, DEFAULT_LANE, sequence)).unwrap();
        stored.map(|stored| body::split(stored).unwrap())
    }

    /// The number of rows of a family.
    pub fn rows(&self, family: Family) -> usize {
        self.kv.rows().filter(|(of, ..)| *of == family).count()
    }
}

pub fn default(queue: QueueRef) -> SubscriptionRef {
    SubscriptionRef { queue, subscription: DEFAULT_SUBSCRIPTION }
}

pub fn department() -> DepartmentId {
    DepartmentId(DEPARTMENT)
}

pub fn publish(queue: QueueRef, contents: &[&str]) -> Publish {
    let entry = |content: &&str| PublishEntry {
        content: Bytes::copy_from_slice(content.as_bytes()),
        payload_bytes: u32::try_from(content.len()).unwrap(),
        refused: *content == "refused",
        ..PublishEntry::default()
    };
    let entries = contents.iter().map(entry).collect();
    Publish { department: queue.department.0, queue: queue.queue.0, entries, ..Publish::default() }
}

pub fn holder(subject: &str) -> Holder {
    Holder { tenant: 7, subject: subject.into(), session_id: Bytes::copy_from_slice(subject.as_bytes()) }
}

/// The token of an item of a lease.
pub fn token(granted: &Granted, index: usize) -> TokenRef {
    TokenRef { lease: granted.lease.0, index: granted.items[index].index, nonce: granted.nonce }
}

pub fn item(token: TokenRef, kind: SettleKind, delay_ms: u64) -> SettleItem {
    SettleItem { token: Some(token), kind: kind.into(), delay_ms, count: 0 }
}

/// Settings with a limit of attempts and a dead-letter queue, or none.
pub fn settings(max_attempts: u32, dead_letter_queue: &str) -> QueueSettings {
    QueueSettings { max_attempts, dead_letter_queue: dead_letter_queue.into(), ..QueueSettings::default() }
}

fn grant(queue: QueueRef, who: &Holder, sequences: &[u64]) -> Grant {
    Grant {
        department: queue.department.0,
        queue: queue.queue.0,
        subscription: DEFAULT_SUBSCRIPTION.0,
        holder: Some(who.clone()),
        sequences: sequences.to_vec(),
        nonce: 77,
        ..Grant::default()
    }
}

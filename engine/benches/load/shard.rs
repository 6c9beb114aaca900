//! A shard as on a busy server: many queues, one of them with a backlog.

use bytes::Bytes;
use posthouse_engine::{
    ids::{DepartmentId, QueueId, QueueRef, ShardId},
    kv::MemKv,
    limits::MACHINE_VERSION,
    machine::{Applied, ShardMachine},
    outcome::{EntryResult, Outcome, SettleOutcome},
    schema::{
        Batch, Command, CommandRecord, ConfigureDepartment, CreateQueue, LeaderStarted, Publish,
        PublishEntry, QueueSettings,
    },
};

use super::measured_apply;

pub const DEPARTMENT: u32 = 1;
/// Bytes of a payload; its envelope adds 3.
pub const PAYLOAD_BYTES: u32 = 1_024;
const CONTENT_BYTES: usize = PAYLOAD_BYTES as usize + 3;
const QUEUES: u32 = 64;
/// Publishes of the backlog, and messages of each: more publishes than the machine has in memory, and more bytes than
/// a queue may have before it is examined for relocation.
const BACKLOG: (usize, usize) = (576, 128);

/// A machine on a store in memory.
pub struct Shard {
    kv: MemKv,
    machine: ShardMachine,
    now_ms: u64,
    /// The queue with the backlog.
    pub deep: QueueRef,
    /// An empty queue.
    pub idle: QueueRef,
    /// The last batch, whose writes are not made yet.
    applied: Option<Applied>,
}

impl Shard {
    /// A shard with its queues and its backlog.
    pub fn new() -> Self {
        let kv = MemKv::default();
        let machine = ShardMachine::hydrate(ShardId(0), &kv).unwrap();
        let queue = |queue| QueueRef { department: DepartmentId(DEPARTMENT), queue: QueueId(queue) };
        let (deep, idle) = (queue(QUEUES / 2), queue(QUEUES));
        let mut shard = Self { kv, machine, now_ms: 1_700_000_000_000, deep, idle, applied: None };
        let configure =
            ConfigureDepartment { department: DEPARTMENT, catalogue_index: 1, tenant: 7, closed: false };
        shard.run(vec![Command::LeaderStarted(LeaderStarted {}), Command::ConfigureDepartment(configure)]);
        for number in 1..=QUEUES {
            let settings = Some(QueueSettings::default());
            let name = format!("applications-{number}");
            let create = CreateQueue { department: DEPARTMENT, name, settings, ..CreateQueue::default() };
            shard.run(vec![Command::CreateQueue(create)]);
        }
        for number in 1..QUEUES {
            shard.run(vec![shared(queue(number), 16)]);
        }
        for _ in 0..BACKLOG.0 {
            shard.run(vec![shared(deep, BACKLOG.1)]);
        }
        shard
    }

    /// Another machine on the same rows, which has read no queue yet.
    pub fn restarted(&self) -> Self {
        let kv = self.kv.clone();
        let machine = ShardMachine::hydrate(ShardId(0), &kv).unwrap();
        Self { kv, machine, applied: None, ..*self }
    }

    /// The next batch, five milliseconds later.
    pub fn batch(&mut self, commands: Vec<Command>) -> Batch {
        self.now_ms += 5;
        Batch {
            shard: 0,
            machine_version: MACHINE_VERSION,
            now_ms: self.now_ms,
            commands: commands.into_iter().map(|command| CommandRecord { command: Some(command) }).collect(),
            proposal_id: 0,
            wall_ms: self.now_ms,
        }
    }

    pub fn apply(&mut self, batch: Batch) {
        let index = self.machine.applied_index() + 1;
        self.applied = Some(measured_apply(&mut self.machine, &self.kv, index, batch));
    }

    /// Makes the writes of the last batch, and checks and returns its outcomes.
    pub fn settled(&mut self) -> Vec<Outcome> {
        let Some(applied) = self.applied.take() else { return Vec::new() };
        self.kv.write(&applied.writes);
        applied.outcomes.iter().for_each(expect);
        applied.outcomes
    }

    /// Applies commands without measuring them.
    pub fn run(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.settled();
        let batch = self.batch(commands);
        let index = self.machine.applied_index() + 1;
        self.applied = Some(self.machine.apply(&self.kv, index, batch).unwrap());
        self.settled()
    }
}

/// Checks that nothing was refused, or found leased or settled before.
fn expect(outcome: &Outcome) {
    let good = match outcome {
        Outcome::Publish(Ok(published)) => {
            published.results.iter().all(|result| matches!(result, EntryResult::Stored(_)))
        }
        Outcome::Grant(Ok(granted)) => !granted.items.is_empty(),
        Outcome::Settle(Ok(items)) => items.iter().all(|item| *item == SettleOutcome::Settled),
        Outcome::CreateQueue(created) => created.is_ok(),
        Outcome::LeaderStarted | Outcome::ConfigureDepartment(true) => true,
        _ => false,
    };
    assert!(good, "{outcome:?}");
}

/// A message as the server proposes it: nothing else refers to the content.
pub fn entry() -> PublishEntry {
    PublishEntry {
        content: vec![7; CONTENT_BYTES].into(),
        payload_bytes: PAYLOAD_BYTES,
        ..PublishEntry::default()
    }
}

/// A publish without a session, whose messages share one content.
fn shared(queue: QueueRef, messages: usize) -> Command {
    let content = Bytes::from_static(&[7; CONTENT_BYTES]);
    let entry = PublishEntry { content, payload_bytes: PAYLOAD_BYTES, ..PublishEntry::default() };
    let (department, queue, entries) = (queue.department.0, queue.queue.0, vec![entry; messages]);
    Command::Publish(Publish { department, queue, entries, ..Publish::default() })
}

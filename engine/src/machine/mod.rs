//! A shard's machine: `apply(batch) -> (writes, outcomes, effects)`, and the queries of its leader between batches.

mod dead_letters;
mod flush;
mod hydrate;
#[cfg(feature = "planted-bugs")]
mod plant;
mod query;
mod relocate;
mod set_aside;
mod stats;
mod transaction;

use std::collections::BTreeMap;

pub use dead_letters::DeadLetters;
use flush::Flushed;
pub(crate) use hydrate::for_each_row;
#[cfg(feature = "planted-bugs")]
pub use plant::Plant;
pub use query::{EntryView, Free};
pub use set_aside::departments_of;
use transaction::Proposed;
pub(crate) use transaction::Transaction;

use crate::{
    apply,
    body::wall_time,
    effect::Effect,
    halt::Halt,
    ids::{DepartmentId, QueueRef, ShardId},
    keys::{Key, ShardKey, TimerKey},
    kv::{Family, Kv, KvError, Writes},
    limits::{MACHINE_VERSION, VERSION_OF_WALL_TIME},
    outcome::Outcome,
    overlay::Overlay,
    schema::{Batch, DepartmentRow, ShardRow},
    state::Queue,
    tally::Tally,
    views::Usage,
};

/// The machine of one shard. All of its state can be read from its rows.
pub struct ShardMachine {
    shard: ShardId,
    row: ShardRow,
    departments: BTreeMap<DepartmentId, DepartmentRow>,
    queues: BTreeMap<QueueRef, Box<Queue>>,
    halted: bool,
    relocation: relocate::Rule,
    #[cfg(feature = "planted-bugs")]
    plant: Option<Plant>,
}

/// The results of a batch. The writes are not made yet: the store takes all of them or none.
#[derive(Debug)]
pub struct Applied {
    /// The changes of rows.
    pub writes: Writes,
    /// The answers to the callers: one per command, in order.
    pub outcomes: Vec<Outcome>,
    /// What the leader does once the writes are made.
    pub effects: Vec<Effect>,
    /// What each department holds now whose queues or bytes may have changed.
    pub usages: Vec<(DepartmentId, Usage)>,
    /// Counts for the leader's metrics.
    pub tally: Tally,
    /// The earliest time of a timer that the batch has set, Unix milliseconds. The batch may have deleted that timer
    /// again: at this time the leader reads [`ShardMachine::next_deadline`].
    pub deadline_ms: Option<u64>,
}

impl ShardMachine {
    /// Reads the machine from its rows. Queues are read when a command first names them.
    ///
    /// # Errors
    /// When the store cannot be read, or the shard's row cannot be decoded.
    pub fn hydrate(shard: ShardId, kv: &dyn Kv) -> Result<Self, Halt> {
        Ok(Self {
            shard,
            row: Overlay::new(kv).row(&ShardKey { shard })?.unwrap_or_default(),
            departments: BTreeMap::new(),
            queues: BTreeMap::new(),
            halted: false,
            relocation: relocate::Rule::default(),
            #[cfg(feature = "planted-bugs")]
            plant: None,
        })
    }

    /// The index of the last batch applied; 0 before the first.
    #[must_use]
    pub const fn applied_index(&self) -> u64 {
        self.row.applied_index
    }

    /// The time of the last batch, Unix milliseconds.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.row.now_ms
    }

    /// The wall clock's time at the last batch, Unix milliseconds.
    #[must_use]
    pub const fn wall_ms(&self) -> u64 {
        wall_time(self.row.now_ms, self.row.wall_ahead_ms)
    }

    /// The number of leaders that have started.
    #[must_use]
    pub const fn leader_epoch(&self) -> u64 {
        self.row.leader_epoch
    }

    /// Applies a batch. Its writes must be in `kv` before the next one.
    ///
    /// # Errors
    /// See [`Halt`]: nothing may be written, and the machine is unusable until it is hydrated again.
    pub fn apply(&mut self, kv: &dyn Kv, index: u64, batch: Batch) -> Result<Applied, Halt> {
        if self.halted {
            return Err(Halt::Halted);
        }
        let applied = self.apply_whole(kv, index, batch);
        self.halted = applied.is_err();
        applied
    }

    fn apply_whole(&mut self, kv: &dyn Kv, index: u64, batch: Batch) -> Result<Applied, Halt> {
        if batch.machine_version > MACHINE_VERSION {
            return Err(Halt::NewerVersion { found: batch.machine_version, known: MACHINE_VERSION });
        }
        let applied = self.row.applied_index;
        if applied.checked_add(1) != Some(index) {
            return Err(Halt::IndexGap { applied, found: index });
        }
        if batch.shard != u32::from(self.shard.0) {
            return Err(Halt::Malformed("it is another shard's"));
        }
        self.row.applied_index = index;
        self.row.now_ms = self.row.now_ms.max(batch.now_ms);

        let has_wall = batch.machine_version >= VERSION_OF_WALL_TIME && batch.wall_ms > 0;
        let wall = if has_wall { batch.wall_ms } else { self.row.now_ms };
        let mut txn = self.begin(kv, Proposed { version: batch.machine_version, wall });
        txn.shard_row.wall_ahead_ms = txn.wall_ahead();
        let mut outcomes = Vec::with_capacity(batch.commands.len());
        for record in batch.commands {
            let command = record.command.ok_or(Halt::Malformed("a command is missing or unknown"))?;
            outcomes.push(apply::command(&mut txn, command)?);
            txn.end_command();
        }
        let (tally, deadline_ms) = (txn.tally, txn.deadline_ms);
        let Flushed { writes, effects, usages } = flush::flush(txn)?;
        Ok(Applied { writes, outcomes, effects, usages, tally, deadline_ms })
    }

    /// The time of the next timer, Unix milliseconds: one seek.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next_deadline(&self, kv: &dyn Kv) -> Result<Option<u64>, KvError> {
        let from = TimerKey::from(self.shard, self.row.fired_ms);
        let rows = kv.range(Family::Timer, &from, &TimerKey::end(self.shard), 1)?;
        Ok(rows.first().and_then(|(key, _)| TimerKey::decode(key)).map(|timer| timer.due_ms))
    }

    /// Drops the state of all queues but the `keep` used last. It is read again when it is needed.
    pub fn evict_idle(&mut self, keep: usize) {
        if self.queues.len() <= keep {
            return;
        }
        let mut used: Vec<_> = self.queues.values().map(|queue| (queue.used_at, queue.id)).collect();
        used.sort_unstable();
        for (_, id) in &used[..used.len() - keep] {
            self.queues.remove(id);
        }
        if keep == 0 {
            self.departments.clear();
        }
    }

    /// A transaction for reads between batches.
    fn query<'a>(&'a mut self, kv: &'a dyn Kv) -> Transaction<'a> {
        let wall = self.row.now_ms;
        self.begin(kv, Proposed { version: MACHINE_VERSION, wall })
    }

    fn begin<'a>(&'a mut self, kv: &'a dyn Kv, proposed: Proposed) -> Transaction<'a> {
        Transaction::new(
            Overlay::new(kv),
            self.shard,
            &mut self.row,
            proposed,
            &mut self.departments,
            &mut self.queues,
            self.relocation,
            #[cfg(feature = "planted-bugs")]
            self.plant,
        )
    }
}

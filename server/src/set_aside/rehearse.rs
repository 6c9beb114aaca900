//! A shard brought up to date in memory, over a store that stays as it is.

use posthouse_engine::{
    halt::Halt, ids::ShardId, kv::Kv, layered::Layered, machine::ShardMachine, schema::Batch,
};

use crate::{
    log::{Entry, GroupId, LogError, OpenLog, ReplayError},
    shard::{HaltedBy, Stop, decode_batch, guarded},
};

/// A shard as it would be after a start.
pub(crate) struct Rehearsal<'a> {
    shard: ShardId,
    machine: ShardMachine,
    /// The last entry that was applied.
    applied: u64,
    pub(crate) rows: Layered<'a>,
}

/// How a rehearsal ended.
pub(crate) enum Ended {
    /// All that was asked for is applied.
    Applied,
    /// An entry would not be applied.
    Halted(Box<Halting>),
}

/// An entry that would not be applied.
pub(crate) struct Halting {
    pub(crate) by: HaltedBy,
    /// The batch, if it can be decoded.
    pub(crate) batch: Option<Batch>,
}

impl<'a> Rehearsal<'a> {
    /// As the store has it.
    pub(crate) fn begin(shard: ShardId, store: &'a dyn Kv) -> Result<Self, Halt> {
        let rows = Layered::over(store);
        let machine = ShardMachine::hydrate(shard, &rows)?;
        Ok(Self { shard, applied: machine.applied_index(), machine, rows })
    }

    /// The last entry that was applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// Applies the log's entries up to one, or until one halts the shard.
    pub(crate) fn run(&mut self, log: &OpenLog, to: u64) -> Result<Ended, LogError> {
        let (group, from) = (GroupId(self.shard.0), self.applied);
        let ran = log.replay(group, from, &mut |entry| {
            if entry.index > to {
                return Err(Ended::Applied);
            }
            self.apply(&entry)
        });
        match ran {
            Ok(()) => Ok(Ended::Applied),
            Err(ReplayError::Apply(ended)) => Ok(ended),
            Err(ReplayError::Read(why)) => Err(why),
        }
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), Ended> {
        let batch = match decode_batch(entry.data.clone()) {
            Ok(batch) => batch,
            Err(why) => {
                let by = HaltedBy::new(entry, Stop::Undecodable(why.to_string()));
                return Err(Ended::Halted(Box::new(Halting { by, batch: None })));
            }
        };
        let (machine, rows) = (&mut self.machine, &self.rows);
        match guarded(|| machine.apply(rows, entry.index, batch.clone())) {
            Ok(applied) => {
                self.rows.write(applied.writes);
                self.applied = entry.index;
                Ok(())
            }
            Err(stop) => {
                let by = HaltedBy::new(entry, stop);
                Err(Ended::Halted(Box::new(Halting { by, batch: Some(batch) })))
            }
        }
    }
}

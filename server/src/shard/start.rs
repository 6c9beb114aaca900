//! A shard at start: what the store knows, then what the log has beyond it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use posthouse_engine::{halt::Halt, ids::ShardId, machine::ShardMachine};

use super::pending::decode_batch;
use crate::{
    log::Entry,
    store::{Store, StoreError},
};

/// A shard before its worker has it.
pub(crate) struct StartShard {
    pub(crate) shard: ShardId,
    pub(crate) machine: ShardMachine,
    /// The last batch whose writes the store has; the machine also counts one that halted it.
    pub(crate) applied_index: u64,
    /// A batch halted it, as it did when it was first applied: the rest of the node goes on.
    pub(crate) halted: Option<String>,
}

impl StartShard {
    pub(crate) fn hydrate(shard: ShardId, store: &Store) -> Result<Self, Halt> {
        let machine = ShardMachine::hydrate(shard, store)?;
        Ok(Self { shard, applied_index: machine.applied_index(), machine, halted: None })
    }

    /// Applies an entry of the log.
    pub(crate) fn replay(&mut self, store: &Store, entry: Entry) -> Result<(), StoreError> {
        if self.halted.is_some() {
            return Ok(());
        }
        let index = entry.index;
        let batch = match decode_batch(entry.data) {
            Ok(batch) => batch,
            Err(why) => {
                self.halted = Some(undecodable(index, &why));
                return Ok(());
            }
        };
        let machine = &mut self.machine;
        match guarded(|| machine.apply(store, index, batch)) {
            Ok(applied) => {
                store.write(&applied.writes)?;
                self.applied_index = index;
            }
            Err(why) => self.halted = Some(why),
        }
        Ok(())
    }
}

/// Runs the machine; a panic of it halts its shard, as a failed check does, and nothing else.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Halt>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done.map_err(|halt| halt.to_string()),
        Err(_) => Err("a check of its state failed (see the log for the panic)".to_owned()),
    }
}

/// Why a shard is halted whose log cannot be read.
pub(super) fn undecodable(index: u64, why: &prost::DecodeError) -> String {
    format!("log entry {index} cannot be decoded: {why}")
}

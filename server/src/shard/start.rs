//! A shard at start: what the store knows, then what the log has beyond it.

use posthouse_engine::{halt::Halt, ids::ShardId, machine::ShardMachine};

use super::{
    halted::{HaltedBy, Stop, guarded},
    pending::decode_batch,
};
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
    pub(crate) halted: Option<HaltedBy>,
}

impl StartShard {
    pub(crate) fn hydrate(shard: ShardId, store: &Store) -> Result<Self, Halt> {
        let machine = ShardMachine::hydrate(shard, store)?;
        Ok(Self { shard, applied_index: machine.applied_index(), machine, halted: None })
    }

    /// Applies an entry of the log.
    pub(crate) fn replay(&mut self, store: &Store, entry: &Entry) -> Result<(), StoreError> {
        if self.halted.is_some() {
            return Ok(());
        }
        let machine = &mut self.machine;
        let applied = match decode_batch(entry.data.clone()) {
            Ok(batch) => guarded(|| machine.apply(store, entry.index, batch)),
            Err(why) => Err(Stop::Undecodable(why.to_string())),
        };
        match applied {
            Ok(applied) => {
                store.write(&applied.writes)?;
                self.applied_index = entry.index;
            }
            Err(stop) => self.halted = Some(HaltedBy::new(entry, stop)),
        }
        Ok(())
    }
}

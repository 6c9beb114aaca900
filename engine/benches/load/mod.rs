//! The load that `apply` is measured with, by time (`benches/apply.rs`) and by instructions
//! (`examples/instructions.rs`): a shard as on a busy server, and the batches that its worker proposes. Every run is
//! the same.

mod line;
mod shard;
mod verb;

use posthouse_engine::{
    kv::MemKv,
    machine::{Applied, ShardMachine},
    schema::Batch,
};

use line::Line;
pub use shard::Shard;
pub use verb::Verb;

/// The one call that is measured. It is not inlined, and calls no other function of this name, so that a counter can be
/// switched on where it begins and off where it ends.
#[inline(never)]
pub fn measured_apply(machine: &mut ShardMachine, kv: &MemKv, index: u64, batch: Batch) -> Applied {
    machine.apply(kv, index, batch).unwrap()
}

/// Batches of one verb: [`Rounds::prepare`] and [`Rounds::apply`] alternate.
pub struct Rounds {
    verb: Verb,
    shard: Shard,
    line: Line,
}

impl Rounds {
    /// Rounds on a copy of `base`. The first rounds, which read the state into memory, are done.
    pub fn new(verb: Verb, base: &Shard) -> Self {
        let mut shard = base.restarted();
        let queue = if verb.keeps_up() { shard.idle } else { shard.deep };
        let line = Line::new(queue, &mut shard);
        let mut rounds = Self { verb, shard, line };
        for _ in 0..4 {
            let batch = rounds.prepare();
            rounds.apply(batch);
        }
        rounds
    }

    /// Returns the next batch. Its preparation is not measured.
    pub fn prepare(&mut self) -> Batch {
        self.verb.prepare(&mut self.line, &mut self.shard)
    }

    /// Applies the batch. The next [`Rounds::prepare`] makes its writes and checks its outcomes.
    pub fn apply(&mut self, batch: Batch) {
        self.shard.apply(batch);
    }
}

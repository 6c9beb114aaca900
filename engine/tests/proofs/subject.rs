//! A machine on a store in memory.

#[cfg(feature = "planted-bugs")]
pub use posthouse_engine::machine::Plant;
use posthouse_engine::{
    check::check,
    ids::ShardId,
    kv::MemKv,
    machine::{Applied, ShardMachine},
    schema::Batch,
};

use crate::driver::SHARD;

/// Without the feature there are none.
#[cfg(not(feature = "planted-bugs"))]
#[derive(Debug, Clone, Copy)]
pub enum Plant {}

pub struct Subject {
    pub kv: MemKv,
    pub machine: ShardMachine,
    plant: Option<Plant>,
}

impl Subject {
    pub fn new(plant: Option<Plant>) -> Self {
        Self::on(MemKv::default(), plant)
    }

    /// On rows that are there.
    pub fn on(kv: MemKv, plant: Option<Plant>) -> Self {
        let machine = hydrate(&kv, plant);
        Self { kv, machine, plant }
    }

    /// Without what tests make smaller, on rows that are there.
    pub fn as_shipped(kv: MemKv) -> Self {
        let machine = ShardMachine::hydrate(ShardId(SHARD), &kv).unwrap();
        Self { kv, machine, plant: None }
    }

    pub fn apply(&mut self, batch: &Batch) -> Result<Applied, String> {
        let index = self.machine.applied_index() + 1;
        let applied = self.machine.apply(&self.kv, index, batch.clone()).map_err(|halt| halt.to_string())?;
        self.kv.write(&applied.writes);
        Ok(applied)
    }

    pub fn restart(&mut self) {
        self.machine = hydrate(&self.kv, self.plant);
    }

    pub fn check(&self) -> Result<(), String> {
        check(ShardId(SHARD), &self.kv).map_err(|problems| problems.join("\n"))
    }
}

#[allow(unused_mut)]
fn hydrate(kv: &MemKv, plant: Option<Plant>) -> ShardMachine {
    let mut machine = ShardMachine::hydrate(ShardId(SHARD), kv).unwrap();
    #[cfg(feature = "planted-bugs")]
    machine.copy_aside_soon();
    match plant {
        None => {}
        #[cfg(feature = "planted-bugs")]
        Some(plant) => machine.plant(plant),
        #[cfg(not(feature = "planted-bugs"))]
        Some(none) => match none {},
    }
    machine
}

/// What differs, in few words.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, expected: &T) -> Result<(), String> {
    if ours == expected {
        Ok(())
    } else {
        Err(format!("{what}:\n  is       {ours:?}\n  expected {expected:?}"))
    }
}

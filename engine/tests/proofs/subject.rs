//! A machine on a store in memory.

#[cfg(feature = "planted-bugs")]
pub use posthouse_engine::machine::Plant;
use posthouse_engine::{
    body,
    check::check,
    ids::{DepartmentId, ShardId},
    keys::{BodyKey, Key as _, TimerKey},
    kv::{Family, Kv, MemKv, Write},
    machine::{Applied, ShardMachine},
    schema::{Batch, SetAsideRow},
};

use crate::driver::SHARD;

/// Without the feature there are no bugs.
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

    /// A machine on existing rows.
    pub fn on(kv: MemKv, plant: Option<Plant>) -> Self {
        let machine = hydrate(&kv, plant);
        Self { kv, machine, plant }
    }

    /// A machine with the shipped limits, on existing rows.
    pub fn as_shipped(kv: MemKv) -> Self {
        let machine = ShardMachine::hydrate(ShardId(SHARD), &kv).unwrap();
        Self { kv, machine, plant: None }
    }

    pub fn apply(&mut self, batch: &Batch) -> Result<Applied, String> {
        let index = self.machine.applied_index() + 1;
        let applied = self.machine.apply(&self.kv, index, batch.clone()).map_err(|halt| halt.to_string())?;
        agrees_with_its_writes(&applied)?;
        self.kv.write(&applied.writes);
        Ok(applied)
    }

    /// Skips an entry and sets a department aside, unless it is set aside. Returns whether it did.
    pub fn set_aside(&mut self, department: u32) -> bool {
        let index = self.machine.applied_index() + 1;
        let mark = SetAsideRow { index, ..SetAsideRow::default() };
        let Ok(writes) = self.machine.skip(&self.kv, index, DepartmentId(department), &mark) else {
            return false;
        };
        self.kv.write(&writes);
        self.restart();
        true
    }

    /// Opens a department again, if it is set aside.
    pub fn reopen(&mut self, department: u32) {
        let writes = self.machine.reopen(&self.kv, DepartmentId(department)).unwrap();
        self.kv.write(&writes);
        self.restart();
    }

    pub fn restart(&mut self) {
        self.machine = hydrate(&self.kv, self.plant);
    }

    pub fn check(&self) -> Result<(), String> {
        check(ShardId(SHARD), &self.kv).map_err(|problems| problems.join("\n"))
    }
}

#[allow(unused_mut)]
pub fn hydrate(kv: &dyn Kv, plant: Option<Plant>) -> ShardMachine {
    let mut machine = ShardMachine::hydrate(ShardId(SHARD), kv).unwrap();
    #[cfg(feature = "planted-bugs")]
    machine.relocate_soon();
    match plant {
        None => {}
        #[cfg(feature = "planted-bugs")]
        Some(plant) => machine.plant(plant),
        #[cfg(not(feature = "planted-bugs"))]
        Some(none) => match none {},
    }
    machine
}

/// `Applied` agrees with the batch's writes: on the bodies, and on a deadline that no timer is due before.
fn agrees_with_its_writes(applied: &Applied) -> Result<(), String> {
    let put = |wanted| {
        applied.writes.iter().filter_map(move |write| match write {
            Write::Put { family, key, .. } if *family == wanted => Some(&key[..]),
            _ => None,
        })
    };
    let first = put(Family::Timer).filter_map(TimerKey::decode).map(|timer| timer.due_ms).min();
    if first.is_some_and(|first| applied.deadline_ms.is_none_or(|deadline| deadline > first)) {
        return Err(format!("a timer is due at {first:?}, the batch says {:?}", applied.deadline_ms));
    }
    let answered: Vec<_> = body::stored(applied.writes.clone()).map(|stored| stored.key).collect();
    same("stored bodies", &answered, &put(Family::Body).filter_map(BodyKey::decode).collect())
}

/// An error that shows both values if they differ.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, expected: &T) -> Result<(), String> {
    if ours == expected {
        Ok(())
    } else {
        Err(format!("{what}:\n  is       {ours:?}\n  expected {expected:?}"))
    }
}

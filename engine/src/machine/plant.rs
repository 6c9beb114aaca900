//! Deliberate bugs, so that the proofs can show that they would find them.

use super::{ShardMachine, relocate};

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The floor rises one message too far.
    SkipFloor,
    /// A lease gets no timer.
    ForgetExpiry,
    /// What is leased is forgotten when a queue is read again.
    HydrateWrongly,
}

impl ShardMachine {
    /// From now on what waits is relocated for a few bytes behind it, in small pieces: no bug, but what random cases
    /// do not come to otherwise. The same must be said to every machine that reads the rows.
    pub const fn relocate_soon(&mut self) {
        self.relocation =
            relocate::Rule { from_bytes: 20, gain: 0, examine_again_after: 2, max_bodies: 3, max_bytes: 150 };
    }

    /// From now on the machine has this bug.
    pub fn plant(&mut self, plant: Plant) {
        self.plant = Some(plant);
    }
}

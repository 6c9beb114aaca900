//! Deliberate bugs, so that the proofs can show that they would find them.

use super::{ShardMachine, relocate};

/// One bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The floor rises one message too far.
    SkipFloor,
    /// A lease gets no timer.
    ForgetExpiry,
    /// Leases are forgotten when a queue is read again.
    HydrateWrongly,
}

impl ShardMachine {
    /// Makes the machine relocate for a few bytes, in small pieces. This is no bug: random cases would not relocate
    /// otherwise. Every machine that reads the rows needs the same setting.
    pub const fn relocate_soon(&mut self) {
        self.relocation =
            relocate::Rule { from_bytes: 20, gain: 0, examine_again_after: 2, max_bodies: 3, max_bytes: 150 };
    }

    /// Plants a bug in the machine.
    pub fn plant(&mut self, plant: Plant) {
        self.plant = Some(plant);
    }
}

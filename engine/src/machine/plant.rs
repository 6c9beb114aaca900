//! Deliberate bugs, so that the proofs can show that they would find them.

use super::ShardMachine;

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
    /// From now on the machine has this bug.
    pub fn plant(&mut self, plant: Plant) {
        self.plant = Some(plant);
    }
}

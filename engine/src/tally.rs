//! What a batch did that no caller is answered: for the figures of its leader. No state depends on it.

/// Counts of one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries whose lease ran out.
    pub expired: u64,
    /// Messages moved to a dead-letter queue.
    pub moved: u64,
    /// Messages parked where they are.
    pub parked: u64,
}

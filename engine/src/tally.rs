//! Counts of a batch for the leader's metrics, of events that no caller is answered for. No state depends on them.

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

//! Counts a new leader. The expiry of a lease that was granted under an earlier one counts as no failure of its
//! consumer.

use crate::{machine::Transaction, outcome::Outcome};

pub(super) fn apply(txn: &mut Transaction<'_>) -> Outcome {
    txn.shard_row.leader_epoch += 1;
    Outcome::LeaderStarted
}

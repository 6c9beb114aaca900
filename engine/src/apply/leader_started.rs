//! A leader begins: what expires of leases granted before it is not the consumers' fault.

use crate::{machine::Transaction, outcome::Outcome};

pub(super) fn apply(txn: &mut Transaction<'_>) -> Outcome {
    txn.shard_row.leader_epoch += 1;
    Outcome::LeaderStarted
}

//! A leader begins: what expires of leases granted before it is not the consumers' fault.

use crate::{machine::Turn, outcome::Outcome};

pub(super) fn apply(turn: &mut Turn<'_>) -> Outcome {
    turn.shard_row.leader_epoch += 1;
    Outcome::LeaderStarted
}

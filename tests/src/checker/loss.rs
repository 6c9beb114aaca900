//! Every acked message is delivered, and stays there until it is settled.
//!
//! When the queue has been drained, each acked message must have been received and settled: one that was received, not
//! settled, and not received again is lost too. So is a dead letter that was not received from the dead-letter queue.

use super::{
    Property, Violation,
    index::{Index, Lease},
};
use crate::{history::Action, payload::PayloadId};

pub(super) fn check(index: &Index) -> Vec<Violation> {
    if index.drained.is_none() {
        return Vec::new();
    }
    let delivered = index.leases_of();
    let acked = index.publishes.iter().filter(|(_, publish)| publish.acked.is_some());
    acked
        .filter_map(|(payload, _)| lost(payload, delivered.get(payload).map_or(&[], Vec::as_slice)))
        .map(|what| Violation { property: Property::Loss, what })
        .collect()
}

fn lost(payload: &PayloadId, leases: &[&Lease]) -> Option<String> {
    if leases.is_empty() {
        return Some(format!("{payload:?} was acked and never came"));
    }
    if !leases.iter().any(|lease| lease.may_be_final()) {
        return Some(format!(
            "{payload:?} was acked, came {} times, was never settled, and is gone",
            leases.len()
        ));
    }
    let condemned = leases.iter().any(|lease| matches!(lease.confirmed(), Some((Action::DeadLetter, _))));
    let risen = leases.iter().any(|lease| lease.delivery.origin.is_some());
    (condemned && !risen).then(|| format!("{payload:?} is a dead letter and never came as one"))
}

//! Releases the open deliveries of a consumer session that ended cleanly. No attempt is counted.

use super::{close_lease, failure, on_subscription, subscription_ref};
use crate::{
    halt::Halt,
    machine::Transaction,
    outcome::SubscriptionError,
    schema::{Holder, ReleaseHolder},
    state::{Index, Subscription},
};

/// Returns how many deliveries were released.
pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: &ReleaseHolder,
) -> Result<Result<u32, SubscriptionError>, Halt> {
    let id = subscription_ref(command.department, command.queue, command.subscription);
    let holder = command.holder.as_ref().ok_or(Halt::Malformed("a release without a holder"))?;
    on_subscription(txn, id, |txn, context| release(txn, context.subscription, holder))
}

fn release(txn: &mut Transaction<'_>, subscription: &mut Subscription, holder: &Holder) -> Result<u32, Halt> {
    let theirs = subscription.leases.values().filter(|lease| lease.holder == *holder);
    let theirs: Vec<u64> = theirs.map(|lease| lease.id.0).collect();
    let mut released = 0;
    for lease in theirs {
        let Some(open) = subscription.leases.get_mut(&lease) else { continue };
        let indices: Vec<usize> = open.open().collect();
        let mut sequences = Vec::with_capacity(indices.len());
        for index in indices {
            open.end(index, Index::Released)?;
            sequences.push(open.sequences[index]);
        }
        for sequence in sequences {
            subscription.unlease(sequence)?;
            failure::returned(txn, subscription, sequence);
            subscription.sums().released += 1;
            released += 1;
        }
        close_lease::close(txn, subscription, lease)?;
    }
    Ok(released)
}

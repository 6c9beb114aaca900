//! The timer of a lease: open deliveries whose deadline has passed end, and the holder has lost them.

use super::{close_lease, failure};
use crate::{
    halt::Halt,
    ids::LeaseId,
    keys::Timer,
    machine::Transaction,
    state::{Index, SubscriptionContext},
};

pub(super) fn due(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    lease: LeaseId,
    due_ms: u64,
) -> Result<(), Halt> {
    let subscription = &mut *context.subscription;
    let Some(open) = subscription.leases.get_mut(&lease.0).filter(|open| open.timer_ms == due_ms) else {
        return Ok(());
    };
    let now = txn.now;
    let over: Vec<usize> = open.open().filter(|index| open.deadline(*index) <= now).collect();
    let mut lost = Vec::with_capacity(over.len());
    for index in over {
        open.end(index, Index::Lost)?;
        lost.push((open.sequences[index], open.attempt(index)));
    }
    txn.tally.expired += lost.len() as u64;
    let counts = open.leader_epoch == txn.shard_row.leader_epoch;
    let next = open.first_deadline();
    if let Some(next) = next {
        open.timer_ms = next;
        txn.put_timer(next, Timer::Lease(subscription.id, lease));
    }
    subscription.lease_changed(lease.0);
    subscription.sums().expired += lost.len() as u64;
    for (sequence, attempt) in lost {
        context.subscription.unlease(sequence)?;
        if counts {
            failure::failed(txn, context, sequence, attempt, 0)?;
        } else {
            failure::returned(txn, context.subscription, sequence);
        }
    }
    if next.is_none() {
        close_lease::close(txn, context.subscription, lease.0)?;
    }
    Ok(())
}

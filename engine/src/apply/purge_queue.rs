//! Purges a queue: deletes every message published so far, for all subscriptions.

use super::close_lease;
use crate::{
    effect::Effect,
    halt::Halt,
    ids::{DepartmentId, SubscriptionRef},
    keys::{self, Kind, LeaseKey, ProgressKey, Timer},
    kv::Family,
    limits::VERSION_OF_WALL_TIME,
    machine::{Transaction, for_each_row},
    outcome::PurgeQueueError,
    overlay::decode_row,
    schema::PurgeQueue,
    state::{OpenLease, Queue, Subscription},
};

/// Returns how many messages were not settled.
pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: &PurgeQueue,
) -> Result<Result<u64, PurgeQueueError>, Halt> {
    let department = DepartmentId(command.department);
    if let Err(error) = txn.open_department(department)? {
        return Ok(Err(error.into()));
    }
    let Some(id) = txn.find_queue(department, &command.name)? else {
        return Ok(Err(PurgeQueueError::NotFound));
    };
    let Some(mut queue) = txn.borrow_queue(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let purged = purge(txn, &mut queue)?;
    txn.return_queue(queue);
    txn.effects.push(Effect::Purged(id));
    Ok(Ok(purged))
}

fn purge(txn: &mut Transaction<'_>, queue: &mut Queue) -> Result<u64, Halt> {
    let (id, next) = (queue.id, queue.head.next_sequence);
    txn.rows.delete_prefix(Family::Body, keys::queue_prefix(id));
    txn.rows.delete_prefix(Family::Entry, keys::queue_prefix(id));
    let mut purged = 0;
    for subscription in queue.subscriptions.values_mut() {
        if txn.version >= VERSION_OF_WALL_TIME {
            end_leases(txn, subscription)?;
        } else {
            forget_leases(txn, subscription);
        }
        delete_rows(txn, subscription.id, &[Kind::AckChunk, Kind::Retry]);
        purged += subscription.purge(next);
    }
    let head = &mut queue.head;
    (head.trimmed, head.passed, head.reached) = (next, next, next);
    (head.passed_bytes, head.reached_bytes, head.stored_bytes) = (0, 0, 0);
    queue.passing = None;
    queue.head_changed = true;
    Ok(purged)
}

/// Closes the leases with their open deliveries purged. They are remembered as long as other closed leases, so that a
/// late settlement is answered with the purge, and a repeated one as before.
fn end_leases(txn: &mut Transaction<'_>, subscription: &mut Subscription) -> Result<(), Halt> {
    purge_lost(txn, subscription)?;
    let mut leases = std::mem::take(&mut subscription.leases);
    for lease in leases.values_mut() {
        lease.purge(|sequence| subscription.is_settled(sequence));
    }
    subscription.leases = leases;
    close_lease::close_all(txn, subscription)
}

/// Marks the deliveries of closed leases as purged that were lost and whose messages are not settled. After the purge
/// these messages could not be told apart from settled ones.
fn purge_lost(txn: &mut Transaction<'_>, subscription: &Subscription) -> Result<(), Halt> {
    let id = subscription.id;
    let mut changed = Vec::new();
    let prefix = keys::subscription_prefix(id, Kind::Progress);
    for_each_row::<ProgressKey>(&txn.rows, &prefix, &prefix, |key, value| {
        let progress = decode_row::<ProgressKey>(value)?;
        if progress.closed_at_ms == 0 || !progress.outcomes.contains(&OpenLease::LOST) {
            return Ok(());
        }
        let Some(row) = txn.rows.row(&LeaseKey { subscription: id, lease: key.lease })? else {
            return Err(Halt::Corrupt(format!("lease {} has progress but no row", key.lease)));
        };
        let mut lease = OpenLease::from_rows(key.lease, row, &progress)?;
        if lease.purge(|sequence| subscription.is_settled(sequence)) {
            changed.push((key, lease.progress(progress.closed_at_ms)));
        }
        Ok(())
    })?;
    for (key, progress) in changed {
        txn.rows.put(&key, &progress);
    }
    Ok(())
}

/// Deletes the leases, as purges did before [`VERSION_OF_WALL_TIME`].
fn forget_leases(txn: &mut Transaction<'_>, subscription: &mut Subscription) {
    for lease in subscription.leases.values() {
        txn.delete_timer(lease.timer_ms, Timer::Lease(subscription.id, lease.id));
    }
    subscription.row.closed_leases = 0;
    delete_rows(txn, subscription.id, &[Kind::Lease, Kind::Progress, Kind::ClosedLease]);
}

fn delete_rows(txn: &mut Transaction<'_>, id: SubscriptionRef, kinds: &[Kind]) {
    for kind in kinds {
        txn.rows.delete_prefix(Family::State, keys::subscription_prefix(id, *kind));
    }
}

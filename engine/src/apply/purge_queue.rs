//! Every message published so far goes, for all subscriptions; the queue stays.

use crate::{
    effect::Effect,
    halt::Halt,
    ids::{DepartmentId, SubscriptionRef},
    keys::{self, Kind, Timer},
    kv::Family,
    machine::Turn,
    outcome::PurgeQueueError,
    schema::PurgeQueue,
    state::Queue,
};

/// How many were not settled.
pub(super) fn apply(turn: &mut Turn<'_>, command: &PurgeQueue) -> Result<Result<u64, PurgeQueueError>, Halt> {
    let department = DepartmentId(command.department);
    if let Err(error) = turn.open_department(department)? {
        return Ok(Err(error.into()));
    }
    let Some(id) = turn.find_queue(department, &command.name)? else {
        return Ok(Err(PurgeQueueError::NotFound));
    };
    let Some(mut queue) = turn.take(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let purged = purge(turn, &mut queue);
    turn.give(queue);
    turn.effects.push(Effect::Purged(id));
    Ok(Ok(purged))
}

fn purge(turn: &mut Turn<'_>, queue: &mut Queue) -> u64 {
    let (id, next) = (queue.id, queue.head.next_sequence);
    turn.rows.delete_prefix(Family::Body, keys::queue_prefix(id));
    turn.rows.delete_prefix(Family::Entry, keys::queue_prefix(id));
    let mut purged = 0;
    for subscription in queue.subscriptions.values_mut() {
        delete_rows(turn, subscription.id);
        for lease in subscription.leases.values() {
            turn.delete_timer(lease.timer_ms, Timer::Lease(subscription.id, lease.id));
        }
        purged += subscription.purge(next);
    }
    let head = &mut queue.head;
    (head.trimmed, head.passed, head.reached) = (next, next, next);
    (head.passed_bytes, head.reached_bytes, head.stored_bytes) = (0, 0, 0);
    queue.passing = None;
    queue.head_changed = true;
    purged
}

fn delete_rows(turn: &mut Turn<'_>, id: SubscriptionRef) {
    for kind in [Kind::AckChunk, Kind::Lease, Kind::Progress, Kind::ClosedLease, Kind::Retry] {
        turn.rows.delete_prefix(Family::State, keys::subscription_prefix(id, kind));
    }
}

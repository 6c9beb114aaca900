//! Gives a message up: it moves to the dead-letter queue, or is parked where it is.

use super::{failure, message, publish};
use crate::{
    halt::{Halt, ensure},
    limits::MISSING_TARGET_RETRY_MS,
    machine::Transaction,
    schema::{BodyHeader, DeadLetterCause, DeadLetterOrigin, RetryRow},
    state::SubscriptionContext,
};

/// The message must be neither leased nor waiting. `attempts` of its deliveries have failed.
pub(super) fn move_to_dead_letters(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    attempts: u32,
    cause: DeadLetterCause,
) -> Result<(), Halt> {
    let row = RetryRow { attempts, cause: cause.into(), ..RetryRow::default() };
    let target = &context.settings.dead_letter_queue;
    if target.is_empty() {
        return park(txn, context, sequence, row);
    }
    let Some(target) = txn.find_queue(context.subscription.id.queue.department, target)? else {
        return failure::wait(txn, context, sequence, row, MISSING_TARGET_RETRY_MS);
    };
    ensure!(target != context.subscription.id.queue, "queue {target:?} is its own dead-letter queue");
    let body = message::read(&txn.rows, context.subscription, sequence)?;
    let (header, content) = message::split(body, context.subscription, sequence)?;
    let origin = DeadLetterOrigin {
        cause: cause.into(),
        queue: context.definition.name.clone(),
        subscription: context.subscription.row.name.clone(),
        queue_id: context.subscription.id.queue.queue.0,
        sequence,
        published_at_ms: header.wall_published_at_ms(),
        attempts,
    };
    let (published_at_ms, wall_ahead_ms) = (txn.now, txn.wall_ahead());
    let header = BodyHeader { published_at_ms, wall_ahead_ms, dead_letter: Some(origin), ..header };
    publish::append_one(txn, target, &header, content)?;
    let sums = context.subscription.sums();
    sums.dead_lettered += 1;
    sums.moved += 1;
    txn.tally.moved += 1;
    message::settle(txn, context.subscription, sequence)
}

fn park(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    row: RetryRow,
) -> Result<(), Halt> {
    let subscription = &mut *context.subscription;
    txn.rows.put(&subscription.retry_key(sequence), &RetryRow { parked: true, ..row });
    subscription.fail(sequence);
    subscription.wait(sequence)?;
    subscription.row.parked += 1;
    subscription.sums().dead_lettered += 1;
    txn.tally.parked += 1;
    txn.settled(subscription.id);
    Ok(())
}

//! Ends deliveries without a settlement: the message is delivered again, now or later, or given up.

use super::dead_letter;
use crate::{
    halt::Halt,
    machine::Transaction,
    overlay::Overlay,
    schema::{DeadLetterCause, RetryRow},
    state::{Subscription, SubscriptionContext},
};

/// The retry row of a message; `None` if no delivery of it has ended without a settlement.
pub(crate) fn retry(
    rows: &Overlay<'_>,
    subscription: &Subscription,
    sequence: u64,
) -> Result<Option<RetryRow>, Halt> {
    if !subscription.has_failed(sequence) {
        return Ok(None);
    }
    match rows.row(&subscription.retry_key(sequence))? {
        Some(row) => Ok(Some(row)),
        None => Err(Halt::Corrupt(format!("message {sequence} has failed but has no retry row"))),
    }
}

/// The `failures`-th delivery of a message has failed. The message must not be leased any more.
pub(super) fn failed(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    failures: u32,
    delay_ms: u64,
) -> Result<(), Halt> {
    if failures >= context.settings.max_attempts {
        return dead_letter::move_to_dead_letters(
            txn,
            context,
            sequence,
            failures,
            DeadLetterCause::MaxAttempts,
        );
    }
    if delay_ms > 0 {
        let row = RetryRow { attempts: failures, ..RetryRow::default() };
        return wait(txn, context, sequence, row, delay_ms);
    }
    let subscription = &mut *context.subscription;
    txn.rows.put(&subscription.retry_key(sequence), &RetryRow { attempts: failures, ..RetryRow::default() });
    subscription.fail(sequence);
    txn.returned(subscription.id, sequence);
    Ok(())
}

/// A delivery has ended and counts as no failure. The retry row says that there was one, so that the time until the
/// first delivery is measured only once.
pub(super) fn returned(txn: &mut Transaction<'_>, subscription: &mut Subscription, sequence: u64) {
    if !subscription.has_failed(sequence) {
        txn.rows.put(&subscription.retry_key(sequence), &RetryRow::default());
        subscription.fail(sequence);
    }
    txn.returned(subscription.id, sequence);
}

/// Lets a message wait until a delay has passed.
pub(super) fn wait(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    row: RetryRow,
    delay_ms: u64,
) -> Result<(), Halt> {
    let subscription = &mut *context.subscription;
    let due_ms = txn.after(delay_ms);
    txn.rows.put(&subscription.retry_key(sequence), &RetryRow { due_ms, ..row });
    txn.put_timer(due_ms, subscription.retry_timer(sequence));
    subscription.fail(sequence);
    subscription.wait(sequence)?;
    txn.settled(subscription.id);
    Ok(())
}

/// The retry timer of a message: it may be delivered again, or moves to its dead-letter queue.
pub(super) fn due(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    due_ms: u64,
) -> Result<(), Halt> {
    let (subscription, key) = (context.subscription.id, context.subscription.retry_key(sequence));
    let Some(row) = txn.rows.row(&key)? else { return Ok(()) };
    if row.due_ms != due_ms {
        return Ok(());
    }
    context.subscription.end_wait(sequence)?;
    if row.cause() != DeadLetterCause::Unspecified {
        return dead_letter::move_to_dead_letters(txn, context, sequence, row.attempts, row.cause());
    }
    txn.rows.put(&key, &RetryRow { due_ms: 0, ..row });
    txn.returned(subscription, sequence);
    Ok(())
}

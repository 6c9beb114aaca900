//! A delivery failed: the message is tried again, now or later, or given up.

use super::dead_letter;
use crate::{
    halt::Halt,
    machine::Transaction,
    overlay::Overlay,
    schema::{DeadLetterCause, RetryRow},
    state::{Subscription, SubscriptionContext},
};

/// What is known of a message that came back from a delivery; none for one that was never delivered.
pub(crate) fn retry(
    rows: &Overlay<'_>,
    held: &Subscription,
    sequence: u64,
) -> Result<Option<RetryRow>, Halt> {
    if !held.has_failed(sequence) {
        return Ok(None);
    }
    match rows.row(&held.retry_key(sequence))? {
        Some(row) => Ok(Some(row)),
        None => Err(Halt::Corrupt(format!("message {sequence} has failed but has no retry row"))),
    }
}

/// The `failures`-th delivery of a message that is no longer leased has failed.
pub(super) fn failed(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    failures: u32,
    delay_ms: u64,
) -> Result<(), Halt> {
    if failures >= context.settings.max_attempts {
        return dead_letter::give_up(txn, context, sequence, failures, DeadLetterCause::MaxAttempts);
    }
    if delay_ms > 0 {
        let row = RetryRow { attempts: failures, ..RetryRow::default() };
        return wait(txn, context, sequence, row, delay_ms);
    }
    let held = &mut *context.subscription;
    txn.rows.put(&held.retry_key(sequence), &RetryRow { attempts: failures, ..RetryRow::default() });
    held.fail(sequence);
    txn.returned(held.id, sequence);
    Ok(())
}

/// A delivery ended and counts as no failure. That there was one is remembered: a message waits for its first only once.
pub(super) fn returned(txn: &mut Transaction<'_>, held: &mut Subscription, sequence: u64) {
    if !held.has_failed(sequence) {
        txn.rows.put(&held.retry_key(sequence), &RetryRow::default());
        held.fail(sequence);
    }
    txn.returned(held.id, sequence);
}

/// Takes a message out of the line until a delay has passed.
pub(super) fn wait(
    txn: &mut Transaction<'_>,
    context: &mut SubscriptionContext<'_>,
    sequence: u64,
    row: RetryRow,
    delay_ms: u64,
) -> Result<(), Halt> {
    let held = &mut *context.subscription;
    let due_ms = txn.after(delay_ms);
    txn.rows.put(&held.retry_key(sequence), &RetryRow { due_ms, ..row });
    txn.put_timer(due_ms, held.retry_timer(sequence));
    held.fail(sequence);
    held.wait(sequence)?;
    txn.settled(held.id);
    Ok(())
}

/// A message's retry timer is due.
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
        return dead_letter::give_up(txn, context, sequence, row.attempts, row.cause());
    }
    txn.rows.put(&key, &RetryRow { due_ms: 0, ..row });
    txn.returned(subscription, sequence);
    Ok(())
}

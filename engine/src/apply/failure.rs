//! A delivery failed: the message is tried again, now or later, or given up.

use super::dead_letter;
use crate::{
    halt::Halt,
    machine::Turn,
    overlay::Overlay,
    schema::{DeadLetterCause, RetryRow},
    state::{Place, Subscription},
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
    turn: &mut Turn<'_>,
    place: &mut Place<'_>,
    sequence: u64,
    failures: u32,
    delay_ms: u64,
) -> Result<(), Halt> {
    if failures >= place.settings.max_attempts {
        return dead_letter::give_up(turn, place, sequence, failures, DeadLetterCause::MaxAttempts);
    }
    if delay_ms > 0 {
        let row = RetryRow { attempts: failures, ..RetryRow::default() };
        return wait(turn, place, sequence, row, delay_ms);
    }
    let held = &mut *place.subscription;
    turn.rows.put(&held.retry_key(sequence), &RetryRow { attempts: failures, ..RetryRow::default() });
    held.fail(sequence);
    turn.returned(held.id, sequence);
    Ok(())
}

/// A delivery ended and counts as no failure. That there was one is remembered: a message waits for its first only once.
pub(super) fn came_back(turn: &mut Turn<'_>, held: &mut Subscription, sequence: u64) {
    if !held.has_failed(sequence) {
        turn.rows.put(&held.retry_key(sequence), &RetryRow::default());
        held.fail(sequence);
    }
    turn.returned(held.id, sequence);
}

/// Takes a message out of the line until a delay has passed.
pub(super) fn wait(
    turn: &mut Turn<'_>,
    place: &mut Place<'_>,
    sequence: u64,
    row: RetryRow,
    delay_ms: u64,
) -> Result<(), Halt> {
    let held = &mut *place.subscription;
    let due_ms = turn.after(delay_ms);
    turn.rows.put(&held.retry_key(sequence), &RetryRow { due_ms, ..row });
    turn.put_timer(due_ms, held.retry_timer(sequence));
    held.fail(sequence);
    held.wait(sequence)?;
    turn.settled(held.id);
    Ok(())
}

/// A message's retry timer is due.
pub(super) fn due(
    turn: &mut Turn<'_>,
    place: &mut Place<'_>,
    sequence: u64,
    due_ms: u64,
) -> Result<(), Halt> {
    let (subscription, key) = (place.subscription.id, place.subscription.retry_key(sequence));
    let Some(row) = turn.rows.row(&key)? else { return Ok(()) };
    if row.due_ms != due_ms {
        return Ok(());
    }
    place.subscription.end_wait(sequence)?;
    if row.cause() != DeadLetterCause::Unspecified {
        return dead_letter::give_up(turn, place, sequence, row.attempts, row.cause());
    }
    turn.rows.put(&key, &RetryRow { due_ms: 0, ..row });
    turn.returned(subscription, sequence);
    Ok(())
}

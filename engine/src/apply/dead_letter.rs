//! A message is given up: it moves to the dead-letter queue, or is parked where it is.

use super::{failure, message, publish};
use crate::{
    halt::{Halt, ensure},
    limits::MISSING_TARGET_RETRY_MS,
    machine::Turn,
    schema::{BodyHeader, DeadLetterCause, DeadLetterOrigin, RetryRow},
    state::Place,
};

/// Of a message that is neither leased nor waiting, after so many failures.
pub(super) fn give_up(
    turn: &mut Turn<'_>,
    place: &mut Place<'_>,
    sequence: u64,
    attempts: u32,
    cause: DeadLetterCause,
) -> Result<(), Halt> {
    let row = RetryRow { attempts, cause: cause.into(), ..RetryRow::default() };
    let target = &place.settings.dead_letter_queue;
    if target.is_empty() {
        return park(turn, place, sequence, row);
    }
    let Some(target) = turn.find_queue(place.subscription.id.queue.department, target)? else {
        return failure::wait(turn, place, sequence, row, MISSING_TARGET_RETRY_MS);
    };
    ensure!(target != place.subscription.id.queue, "queue {target:?} is its own dead-letter queue");
    let body = message::read(&turn.rows, place.subscription, sequence)?;
    let (header, content) = message::split(body, place.subscription, sequence)?;
    let origin = DeadLetterOrigin {
        cause: cause.into(),
        queue: place.definition.name.clone(),
        subscription: place.subscription.row.name.clone(),
        queue_id: place.subscription.id.queue.queue.0,
        sequence,
        published_at_ms: header.told_at_ms(),
        attempts,
    };
    let (published_at_ms, wall_ahead_ms) = (turn.now, turn.wall_ahead());
    let header = BodyHeader { published_at_ms, wall_ahead_ms, dead_letter: Some(origin), ..header };
    publish::append_one(turn, target, &header, content)?;
    let sums = place.subscription.sums();
    sums.dead_lettered += 1;
    sums.moved += 1;
    turn.tally.moved += 1;
    message::settle(turn, place.subscription, sequence)
}

fn park(turn: &mut Turn<'_>, place: &mut Place<'_>, sequence: u64, row: RetryRow) -> Result<(), Halt> {
    let held = &mut *place.subscription;
    turn.rows.put(&held.retry_key(sequence), &RetryRow { parked: true, ..row });
    held.fail(sequence);
    held.wait(sequence)?;
    held.row.parked += 1;
    held.sums().dead_lettered += 1;
    turn.tally.parked += 1;
    turn.settled(held.id);
    Ok(())
}

//! Time passes: timers that are due fire, in order, no more than asked. One whose subject is gone is dropped.

use super::{close_lease, expire, failure, on_any_subscription, producer, request, set_aside};
use crate::{
    halt::Halt,
    keys::{Timer, TimerKey},
    kv::{Family, Kv as _},
    machine::Turn,
    outcome::Advanced,
    overlay::decode_key,
    schema::Advance,
};

pub(super) fn apply(turn: &mut Turn<'_>, command: &Advance) -> Result<Advanced, Halt> {
    let end = TimerKey::until(turn.shard, turn.now);
    let from = TimerKey::from(turn.shard, turn.shard_row.fired_ms);
    let due = turn.rows.range(Family::Timer, &from, &end, command.max as usize)?;
    let mut fired = 0;
    for (key, _) in due {
        let key: TimerKey = decode_key(&key)?;
        turn.rows.delete(&key);
        if !set_aside::park(turn, &key)? {
            fire(turn, key)?;
        }
        fired += 1;
    }
    let more = !turn.rows.range(Family::Timer, &from, &end, 1)?.is_empty();
    if !more {
        turn.shard_row.fired_ms = turn.now;
    }
    Ok(Advanced { fired, more })
}

fn fire(turn: &mut Turn<'_>, key: TimerKey) -> Result<(), Halt> {
    let due_ms = key.due_ms;
    // A queue or subscription that is gone takes its timers with it.
    match key.timer {
        Timer::Lease(id, lease) => {
            let _ = on_any_subscription(turn, id, |turn, mut place| {
                expire::due(turn, &mut place, lease, due_ms)
            })?;
        }
        Timer::Retry(id, _, sequence) => {
            let _ = on_any_subscription(turn, id, |turn, mut place| {
                failure::due(turn, &mut place, sequence, due_ms)
            })?;
        }
        Timer::ClosedLeases(id) => {
            let _ = on_any_subscription(turn, id, |turn, place| close_lease::due(turn, place.subscription))?;
        }
        Timer::Producer(id, producer) => producer::due(turn, id, producer)?,
        Timer::Requests(requester) => request::due(turn, requester)?,
    }
    Ok(())
}

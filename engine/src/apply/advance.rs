//! Fires the timers that are due, in order, at most as many as the command says.

use super::{close_lease, expire, failure, on_any_subscription, producer, request, set_aside};
use crate::{
    halt::Halt,
    keys::{Timer, TimerKey},
    kv::{Family, Kv as _},
    machine::Transaction,
    outcome::Advanced,
    overlay::decode_key,
    schema::Advance,
};

pub(super) fn apply(txn: &mut Transaction<'_>, command: &Advance) -> Result<Advanced, Halt> {
    let end = TimerKey::until(txn.shard, txn.now);
    let from = TimerKey::from(txn.shard, txn.shard_row.fired_ms);
    let due = txn.rows.range(Family::Timer, &from, &end, command.max as usize)?;
    let mut fired = 0;
    for (key, _) in due {
        let key: TimerKey = decode_key(&key)?;
        txn.rows.delete(&key);
        if !set_aside::park(txn, &key)? {
            fire(txn, key)?;
        }
        fired += 1;
    }
    let more = !txn.rows.range(Family::Timer, &from, &end, 1)?.is_empty();
    if !more {
        txn.shard_row.fired_ms = txn.now;
    }
    Ok(Advanced { fired, more })
}

fn fire(txn: &mut Transaction<'_>, key: TimerKey) -> Result<(), Halt> {
    let due_ms = key.due_ms;
    // The timer of a queue or subscription that was deleted does nothing.
    match key.timer {
        Timer::Lease(id, lease) => {
            let _ = on_any_subscription(txn, id, |txn, mut context| {
                expire::due(txn, &mut context, lease, due_ms)
            })?;
        }
        Timer::Retry(id, _, sequence) => {
            let _ = on_any_subscription(txn, id, |txn, mut context| {
                failure::due(txn, &mut context, sequence, due_ms)
            })?;
        }
        Timer::ClosedLeases(id) => {
            let _ = on_any_subscription(txn, id, |txn, context| close_lease::due(txn, context.subscription))?;
        }
        Timer::Producer(id, producer) => producer::due(txn, id, producer)?,
        Timer::Requests(requester) => request::due(txn, requester)?,
    }
    Ok(())
}

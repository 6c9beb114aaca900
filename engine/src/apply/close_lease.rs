//! A lease of which nothing is open is kept for a while, so that late settlements get a true answer.

use crate::{
    halt::{Halt, ensure},
    ids::{LeaseId, SubscriptionRef},
    keys::{ClosedLeaseKey, Key, LeaseKey, ProgressKey, Timer},
    kv::Kv as _,
    limits::{CLOSED_LEASE_KEPT_MS, CLOSED_LEASES_PER_TIMER, MAX_CLOSED_LEASES},
    machine::Turn,
    overlay::decode_key,
    state::{OpenLease, Subscription},
};

pub(super) fn close(turn: &mut Turn<'_>, held: &mut Subscription, lease: u64) -> Result<(), Halt> {
    let Some(open) = held.leases.remove(&lease) else {
        return Err(Halt::Invariant(format!("lease {lease} closes and is not held")));
    };
    ensure!(open.is_closed(), "lease {lease} closes with open deliveries");
    keep(turn, held, &open);
    if held.row.closed_leases > MAX_CLOSED_LEASES {
        for key in oldest(turn, held, 1)? {
            forget(turn, held, &key);
        }
    }
    Ok(())
}

/// Closes all leases at once; nothing of any is open. Of more than are kept, those granted first are forgotten.
pub(super) fn close_all(turn: &mut Turn<'_>, held: &mut Subscription) -> Result<(), Halt> {
    let leases = std::mem::take(&mut held.leases);
    let most = MAX_CLOSED_LEASES as usize;
    let too_many = leases.len().saturating_sub(most);
    let in_their_way = (held.row.closed_leases as usize + leases.len() - too_many).saturating_sub(most);
    for key in oldest(turn, held, in_their_way)? {
        forget(turn, held, &key);
    }
    for (number, open) in leases.into_values().enumerate() {
        ensure!(open.is_closed(), "lease {} closes with open deliveries", open.id);
        if number < too_many {
            let (subscription, lease) = (held.id, open.id);
            turn.delete_timer(open.timer_ms, Timer::Lease(subscription, lease));
            turn.rows.delete(&LeaseKey { subscription, lease });
            turn.rows.delete(&ProgressKey { subscription, lease });
        } else {
            keep(turn, held, &open);
        }
    }
    Ok(())
}

/// The timer of a subscription's closed leases is due: forget some that are old enough, and wait for the next.
pub(super) fn due(turn: &mut Turn<'_>, held: &mut Subscription) -> Result<(), Halt> {
    for (count, key) in oldest(turn, held, CLOSED_LEASES_PER_TIMER + 1)?.into_iter().enumerate() {
        let forget_at = key.closed_at_ms.saturating_add(CLOSED_LEASE_KEPT_MS);
        if forget_at > turn.now || count == CLOSED_LEASES_PER_TIMER {
            turn.put_timer(forget_at.max(turn.now), Timer::ClosedLeases(held.id));
            break;
        }
        forget(turn, held, &key);
    }
    Ok(())
}

/// Writes down that a lease is closed.
fn keep(turn: &mut Turn<'_>, held: &mut Subscription, open: &OpenLease) {
    let id = held.id;
    turn.delete_timer(open.timer_ms, Timer::Lease(id, open.id));
    turn.rows.put(&ProgressKey { subscription: id, lease: open.id }, &open.progress(turn.now));
    turn.rows.put(&ClosedLeaseKey { subscription: id, closed_at_ms: turn.now, lease: open.id }, &());
    held.row.closed_leases += 1;
    held.row_changed = true;
    if held.row.closed_leases == 1 {
        turn.put_timer(turn.after(CLOSED_LEASE_KEPT_MS), Timer::ClosedLeases(id));
    }
}

fn oldest(turn: &Turn<'_>, held: &Subscription, limit: usize) -> Result<Vec<ClosedLeaseKey>, Halt> {
    let key =
        |closed_at_ms, lease| ClosedLeaseKey { subscription: held.id, closed_at_ms, lease: LeaseId(lease) };
    let (from, end) = (key(held.closed_from_ms, 0).encode(), key(u64::MAX, u64::MAX).encode());
    let rows = turn.rows.range(ClosedLeaseKey::FAMILY, &from, &end, limit)?;
    rows.iter().map(|(key, _)| decode_key(key)).collect()
}

fn forget(turn: &mut Turn<'_>, held: &mut Subscription, key: &ClosedLeaseKey) {
    let (subscription, lease): (SubscriptionRef, LeaseId) = (key.subscription, key.lease);
    turn.rows.delete(key);
    turn.rows.delete(&LeaseKey { subscription, lease });
    turn.rows.delete(&ProgressKey { subscription, lease });
    held.closed_from_ms = key.closed_at_ms;
    held.row.closed_leases = held.row.closed_leases.saturating_sub(1);
    held.row_changed = true;
}

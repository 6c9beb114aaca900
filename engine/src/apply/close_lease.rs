//! Closes a lease without open deliveries. It is remembered for a while, so that a late settlement is answered as
//! what it is.

use crate::{
    halt::{Halt, ensure},
    ids::LeaseId,
    keys::{ClosedLeaseKey, Key, LeaseKey, ProgressKey, Timer},
    kv::Kv as _,
    limits::{CLOSED_LEASE_RETENTION_MS, CLOSED_LEASES_PER_TIMER, MAX_CLOSED_LEASES},
    machine::Transaction,
    overlay::decode_key,
    state::{OpenLease, Subscription},
};

pub(super) fn close(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    lease: u64,
) -> Result<(), Halt> {
    let Some(open) = subscription.leases.remove(&lease) else {
        return Err(Halt::Invariant(format!("lease {lease} closes and is not open")));
    };
    ensure!(open.is_closed(), "lease {lease} closes with open deliveries");
    keep(txn, subscription, &open);
    if subscription.row.closed_leases > MAX_CLOSED_LEASES {
        for key in oldest(txn, subscription, 1)? {
            forget(txn, subscription, &key);
        }
    }
    Ok(())
}

/// Closes all leases, which have no open deliveries. If they are more than may be remembered, those granted first are
/// forgotten.
pub(super) fn close_all(txn: &mut Transaction<'_>, subscription: &mut Subscription) -> Result<(), Halt> {
    let leases = std::mem::take(&mut subscription.leases);
    let limit = MAX_CLOSED_LEASES as usize;
    let too_many = leases.len().saturating_sub(limit);
    let surplus = (subscription.row.closed_leases as usize + leases.len() - too_many).saturating_sub(limit);
    for key in oldest(txn, subscription, surplus)? {
        forget(txn, subscription, &key);
    }
    for (number, open) in leases.into_values().enumerate() {
        ensure!(open.is_closed(), "lease {} closes with open deliveries", open.id);
        if number < too_many {
            let (id, lease) = (subscription.id, open.id);
            txn.delete_timer(open.timer_ms, Timer::Lease(id, lease));
            txn.rows.delete(&LeaseKey { subscription: id, lease });
            txn.rows.delete(&ProgressKey { subscription: id, lease });
        } else {
            keep(txn, subscription, &open);
        }
    }
    Ok(())
}

/// The timer of a subscription's closed leases: forgets those that are old enough, and sets the timer for the next.
pub(super) fn due(txn: &mut Transaction<'_>, subscription: &mut Subscription) -> Result<(), Halt> {
    for (count, key) in oldest(txn, subscription, CLOSED_LEASES_PER_TIMER + 1)?.into_iter().enumerate() {
        let forget_at = key.closed_at_ms.saturating_add(CLOSED_LEASE_RETENTION_MS);
        if forget_at > txn.now || count == CLOSED_LEASES_PER_TIMER {
            txn.put_timer(forget_at.max(txn.now), Timer::ClosedLeases(subscription.id));
            break;
        }
        forget(txn, subscription, &key);
    }
    Ok(())
}

/// Writes the rows of a lease that has closed.
fn keep(txn: &mut Transaction<'_>, subscription: &mut Subscription, open: &OpenLease) {
    let id = subscription.id;
    txn.delete_timer(open.timer_ms, Timer::Lease(id, open.id));
    txn.rows.put(&ProgressKey { subscription: id, lease: open.id }, &open.progress(txn.now));
    txn.rows.put(&ClosedLeaseKey { subscription: id, closed_at_ms: txn.now, lease: open.id }, &());
    subscription.row.closed_leases += 1;
    subscription.row_changed = true;
    if subscription.row.closed_leases == 1 {
        txn.put_timer(txn.after(CLOSED_LEASE_RETENTION_MS), Timer::ClosedLeases(id));
    }
}

fn oldest(
    txn: &Transaction<'_>,
    subscription: &Subscription,
    limit: usize,
) -> Result<Vec<ClosedLeaseKey>, Halt> {
    let key = |closed_at_ms, lease| ClosedLeaseKey {
        subscription: subscription.id,
        closed_at_ms,
        lease: LeaseId(lease),
    };
    let (from, end) = (key(subscription.closed_from_ms, 0).encode(), key(u64::MAX, u64::MAX).encode());
    let rows = txn.rows.range(ClosedLeaseKey::FAMILY, &from, &end, limit)?;
    rows.iter().map(|(key, _)| decode_key(key)).collect()
}

fn forget(txn: &mut Transaction<'_>, subscription: &mut Subscription, key: &ClosedLeaseKey) {
    let (id, lease) = (key.subscription, key.lease);
    txn.rows.delete(key);
    txn.rows.delete(&LeaseKey { subscription: id, lease });
    txn.rows.delete(&ProgressKey { subscription: id, lease });
    subscription.closed_from_ms = key.closed_at_ms;
    subscription.row.closed_leases = subscription.row.closed_leases.saturating_sub(1);
    subscription.row_changed = true;
}

//! Grants a lease on those of the picked messages that are free. If the leader expected another next sequence,
//! nothing is granted.

use super::{entry::PublishTimes, failure, lane, on_subscription, subscription_ref};
use crate::{
    halt::Halt,
    ids::{Lane, LeaseId},
    keys::{LeaseKey, Timer},
    limits::{LEASE_DURATION_MS, MAX_LEASE_ITEMS},
    machine::Transaction,
    outcome::{Granted, GrantedItem, SubscriptionError},
    schema::{Grant, Holder, LeaseRow, ProgressRow},
    state::{OpenLease, Subscription, SubscriptionContext, deltas},
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: Grant,
) -> Result<Result<Granted, SubscriptionError>, Halt> {
    let id = subscription_ref(command.department, command.queue, command.subscription);
    let lane = lane(command.lane)?;
    let holder = command.holder.ok_or(Halt::Malformed("a grant without a holder"))?;
    let deadline_ms = txn.after(clamp(command.duration_ms));
    on_subscription(txn, id, |txn, context| {
        let as_expected = [0, context.head.next_sequence].contains(&command.next_sequence);
        let sequences = if as_expected { free(&context, command.sequences) } else { Vec::new() };
        grant(txn, context, lane, holder, &sequences, command.nonce, deadline_ms)
    })
}

pub(super) fn clamp(duration_ms: u64) -> u64 {
    duration_ms.clamp(*LEASE_DURATION_MS.start(), *LEASE_DURATION_MS.end())
}

fn free(context: &SubscriptionContext<'_>, mut sequences: Vec<u64>) -> Vec<u64> {
    sequences.sort_unstable();
    sequences.dedup();
    let exists = 1..context.head.next_sequence;
    sequences.retain(|sequence| exists.contains(sequence) && context.subscription.is_free(*sequence));
    sequences.truncate(MAX_LEASE_ITEMS);
    sequences
}

fn grant(
    txn: &mut Transaction<'_>,
    context: SubscriptionContext<'_>,
    lane: Lane,
    holder: Holder,
    sequences: &[u64],
    nonce: u64,
    deadline_ms: u64,
) -> Result<Granted, Halt> {
    if sequences.is_empty() {
        return Ok(Granted { lease: LeaseId(0), nonce, deadline_ms, items: Vec::new() });
    }
    let SubscriptionContext { subscription, head, recent, .. } = context;
    let mut items = Vec::with_capacity(sequences.len());
    let (mut times, mut firsts, mut waited_ms) = (PublishTimes::new(head, recent), 0, 0);
    for (index, sequence) in (0..).zip(sequences) {
        let failed = failure::retry(&txn.rows, subscription, *sequence)?;
        if failed.is_none() {
            firsts += 1;
            waited_ms += txn.now.saturating_sub(times.of(&txn.rows, subscription, *sequence)?);
        }
        subscription.lease(*sequence)?;
        items.push(GrantedItem {
            index,
            sequence: *sequence,
            attempt: 1 + failed.map_or(0, |row| row.attempts),
        });
    }
    let sums = subscription.sums();
    sums.delivered += items.len() as u64;
    sums.first_delivered += firsts;
    sums.waiting_ms += waited_ms;
    let all_first = items.iter().all(|item| item.attempt == 1);
    let row = LeaseRow {
        holder: Some(holder),
        lane: lane.0.into(),
        nonce,
        granted_at_ms: txn.now,
        deadline_ms,
        leader_epoch: txn.shard_row.leader_epoch,
        sequence_deltas: deltas(sequences),
        attempts: if all_first { Vec::new() } else { items.iter().map(|item| item.attempt).collect() },
    };
    let lease = LeaseId(subscription.row.next_lease);
    open(txn, subscription, lease, row)?;
    Ok(Granted { lease, nonce, deadline_ms, items })
}

fn open(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    lease: LeaseId,
    row: LeaseRow,
) -> Result<(), Halt> {
    let id = subscription.id;
    txn.rows.put(&LeaseKey { subscription: id, lease }, &row);
    #[cfg(feature = "planted-bugs")]
    let forget = txn.plant == Some(crate::machine::Plant::ForgetExpiry);
    #[cfg(not(feature = "planted-bugs"))]
    let forget = false;
    if !forget {
        txn.put_timer(row.deadline_ms, Timer::Lease(id, lease));
    }
    let outcomes = vec![0; row.sequence_deltas.len()].into();
    let progress = ProgressRow { outcomes, timer_ms: row.deadline_ms, ..ProgressRow::default() };
    subscription.leases.insert(lease.0, OpenLease::from_rows(lease, row, &progress)?);
    subscription.lease_changed(lease.0);
    subscription.row.next_lease += 1;
    subscription.row_changed = true;
    Ok(())
}

//! Checks the leases of a subscription, open and closed.

use std::collections::BTreeSet;

use super::rows::{Rows, Subscription};
use crate::{
    halt::Halt,
    ids::{LeaseId, SubscriptionRef},
    keys::Timer,
    limits::{CLOSED_LEASE_RETENTION_MS, MAX_CLOSED_LEASES},
    schema::SubscriptionRow,
    state::{OpenLease, chunk},
};

pub(super) fn check(
    rows: &Rows,
    id: SubscriptionRef,
    held: &Subscription,
    row: &SubscriptionRow,
    next_sequence: u64,
    problems: &mut Vec<String>,
) {
    let mut report = |problem: String| problems.push(format!("{id:?}: {problem}"));
    if !held.leases.keys().eq(held.progress.keys()) {
        report("leases and their progress differ".into());
        return;
    }
    let (mut leased, mut closed, mut first_open) = (BTreeSet::new(), BTreeSet::new(), row.next_lease);
    for ((lease, row), progress) in held.leases.iter().zip(held.progress.values()) {
        let read = match OpenLease::from_rows(*lease, row.clone(), progress) {
            Ok(read) => read,
            Err(halt) => {
                report(halt.to_string());
                continue;
            }
        };
        if read.is_closed() != (progress.closed_at_ms > 0) {
            report(format!("lease {lease} closed at {}: {read:?}", progress.closed_at_ms));
        }
        if read.is_closed() {
            closed.insert((progress.closed_at_ms, *lease));
            continue;
        }
        first_open = first_open.min(lease.0);
        for problem in open(rows, id, held, &read, next_sequence, &mut leased) {
            report(problem);
        }
    }
    if held.leases.keys().next_back().is_some_and(|last| last.0 >= row.next_lease) {
        report(format!("a lease was never allocated: the next is {}", row.next_lease));
    }
    if first_open != row.first_open {
        report(format!("the first open lease is {first_open}, recorded as {}", row.first_open));
    }
    if closed != held.closed
        || closed.len() != row.closed_leases as usize
        || row.closed_leases > MAX_CLOSED_LEASES
    {
        report(format!("{} leases are closed, counted as {}", closed.len(), row.closed_leases));
    }
    if let Some((oldest, _)) = closed.first() {
        let forget_at = oldest.saturating_add(CLOSED_LEASE_RETENTION_MS).max(rows.shard.now_ms);
        if rows.first_due(&Timer::ClosedLeases(id)).is_none_or(|due| due > forget_at) {
            report(format!("a lease closed at {oldest} would not be forgotten"));
        }
    }
}

/// The problems of one open lease.
fn open(
    rows: &Rows,
    id: SubscriptionRef,
    held: &Subscription,
    lease: &OpenLease,
    next_sequence: u64,
    leased: &mut BTreeSet<u64>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let LeaseId(number) = lease.id;
    if lease.first_deadline().is_none_or(|deadline| lease.timer_ms > deadline) {
        problems.push(format!("lease {number} would expire late: {lease:?}"));
    }
    if !rows.is_due(&Timer::Lease(id, lease.id), lease.timer_ms) {
        problems.push(format!("lease {number} has no timer at {}", lease.timer_ms));
    }
    if !lease.sequences.is_sorted_by(|one, next| one < next) {
        problems.push(format!("lease {number} is not ascending"));
    }
    for index in lease.open() {
        let sequence = lease.sequences[index];
        if !leased.insert(sequence) {
            problems.push(format!("message {sequence} is leased twice"));
        }
        let blocked = match held.chunks.get(&chunk::number(sequence)) {
            Some(held) => held.settled.get(chunk::bit(sequence)) || held.waiting.get(chunk::bit(sequence)),
            None => held.row.as_ref().is_some_and(|row| sequence < row.floor),
        };
        if blocked || sequence == 0 || sequence >= next_sequence {
            problems.push(format!("message {sequence} is leased, and settled, waiting, or not there"));
        }
        if let Err(Halt::Corrupt(problem)) = lease.outcome(index) {
            problems.push(problem);
        }
    }
    problems
}

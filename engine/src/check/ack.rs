//! Checks the floor, chunks, retries and relocated bodies of a subscription.

use std::collections::BTreeSet;

use super::rows::{LANE, Rows, Subscription};
use crate::{
    ids::SubscriptionRef,
    keys::Timer,
    limits::{CHUNK, MAX_RELOCATED_PER_CHUNK},
    schema::{DeadLetterCause, SubscriptionRow},
    state::{Chunk, chunk},
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
    let floor = row.floor;
    if floor == 0 || floor > next_sequence {
        report(format!("the floor is {floor}, the head {next_sequence}"));
    }
    if held.chunks.get(&chunk::number(floor)).is_some_and(|held| held.settled.get(chunk::bit(floor))) {
        report(format!("the floor {floor} is settled"));
    }
    let (mut failed, mut waiting, mut stragglers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (number, held) in &held.chunks {
        if *number > chunk::number(next_sequence) {
            report(format!("chunk {number} is beyond the head {next_sequence}"));
            continue;
        }
        for problem in bits(*number, held, floor, next_sequence) {
            report(problem);
        }
        let sequence = |bit| chunk::sequence(*number, bit);
        failed.extend(held.failed.iter().map(sequence));
        waiting.extend(held.waiting.iter().map(sequence));
        if *number < chunk::number(floor) {
            let left = (0..CHUNK as usize).filter(|bit| !held.settled.get(*bit));
            stragglers.extend(left.map(sequence));
        }
    }
    if row.copied > next_sequence {
        report(format!("copied up to {}, the head {next_sequence}", row.copied));
    }
    let copied: BTreeSet<_> = stragglers.iter().copied().chain(waiting_below(held, row)).collect();
    if !held.relocated.keys().eq(&copied) {
        report(format!("{copied:?} are to be relocated, {:?} are", held.relocated));
    }
    if !held.retries.keys().eq(failed.iter()) {
        report(format!("{failed:?} have failed, {:?} have retry rows", held.retries.keys()));
    }
    for problem in sums(held, row, next_sequence, stragglers.len() as u64) {
        report(problem);
    }
    let mut parked = 0;
    for (sequence, retry) in &held.retries {
        parked += u64::from(retry.parked);
        if waiting.contains(sequence) != (retry.parked || retry.due_ms > 0) {
            report(format!("message {sequence} waits, or does not: {retry:?}"));
        }
        if retry.parked && (retry.due_ms > 0 || retry.cause() == DeadLetterCause::Unspecified) {
            report(format!("message {sequence} is parked: {retry:?}"));
        }
        let timer = Timer::Retry(id, LANE, *sequence);
        if retry.due_ms > 0 && !rows.is_due(&timer, retry.due_ms) {
            report(format!("message {sequence} waits for {} without a timer", retry.due_ms));
        }
    }
    if parked != row.parked {
        report(format!("{parked} messages are parked, counted as {}", row.parked));
    }
}

/// The unsettled messages from `floor` to `copied`.
fn waiting_below(held: &Subscription, row: &SubscriptionRow) -> impl Iterator<Item = u64> {
    (row.floor..row.copied).filter(|sequence| {
        let chunk = held.chunks.get(&chunk::number(*sequence));
        chunk.is_none_or(|chunk| !chunk.settled.get(chunk::bit(*sequence)))
    })
}

/// The problems of the sums: each message must be unsettled, or settled in one of four ways.
fn sums(held: &Subscription, row: &SubscriptionRow, next_sequence: u64, stragglers: u64) -> Vec<String> {
    let sums = row.sums.unwrap_or_default();
    let mut problems = Vec::new();
    let above = held.chunks.range(chunk::number(row.floor)..).map(|(_, held)| u64::from(held.settled.ones()));
    let above = above.sum::<u64>();
    let below = match held.chunks.contains_key(&chunk::number(row.floor)) {
        true => chunk::number(row.floor) * CHUNK,
        false => row.floor,
    };
    // No message has sequence 0: its bit is set, or it is below the floor.
    let settled = (below + above).saturating_sub(stragglers + 1);
    let how = sums.acked + sums.moved + sums.purged + sums.redriven;
    if settled != how || settled >= next_sequence {
        problems.push(format!("{settled} messages are settled, {how} by {sums:?}"));
    }
    let ended = sums.acked + sums.nacked + sums.expired + sums.released;
    let published = next_sequence - 1;
    if ended > sums.delivered || sums.first_delivered > sums.delivered.min(published) {
        problems.push(format!("of {published} messages: {sums:?}"));
    }
    if sums.moved > sums.dead_lettered || row.parked > sums.dead_lettered - sums.moved {
        problems.push(format!("{} messages are parked: {sums:?}", row.parked));
    }
    problems
}

/// The problems of one chunk.
fn bits(number: u64, held: &Chunk, floor: u64, next_sequence: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let floor_chunk = chunk::number(floor);
    let left = CHUNK - u64::from(held.settled.ones());
    if number < floor_chunk && (left == 0 || left > u64::from(MAX_RELOCATED_PER_CHUNK)) {
        problems.push(format!("chunk {number} is below the floor with {left} messages left"));
    }
    for bit in 0..CHUNK as usize {
        let sequence = chunk::sequence(number, bit);
        let [settled, waiting, failed] =
            [&held.settled, &held.waiting, &held.failed].map(|bits| bits.get(bit));
        let wrong = if settled { waiting || failed } else { waiting && !failed };
        if wrong {
            problems
                .push(format!("message {sequence}: settled {settled}, waiting {waiting}, failed {failed}"));
        }
        if sequence >= next_sequence && (settled || waiting || failed) {
            problems.push(format!("message {sequence} was never published and has ack state"));
        }
        if number == floor_chunk && sequence < floor && !settled {
            problems.push(format!("message {sequence} is below the floor {floor} and not settled"));
        }
    }
    problems
}

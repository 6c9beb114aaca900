//! Checks a queue: its head, its bodies and its entries.

use super::{
    ack, leases, producers,
    rows::{Queue, Rows},
};
use crate::{
    ids::{QueueRef, SubscriptionRef},
    limits::{STRIDE, TRIM_BYTES},
    schema::QueueHeadRow,
};

pub(super) fn check(rows: &Rows, id: QueueRef, queue: &Queue, problems: &mut Vec<String>) {
    let (Some(definition), Some(head)) = (&queue.definition, &queue.head) else {
        problems.push(format!("{id:?} has rows but no definition or no head"));
        return;
    };
    if definition.revision == 0 || definition.settings.is_none() || queue.subscriptions.is_empty() {
        problems.push(format!("{id:?}: its definition is not whole"));
    }
    messages(id, queue, head, problems);
    producers::check(rows, id, queue, head, problems);
    for (subscription, held) in &queue.subscriptions {
        let id = SubscriptionRef { queue: id, subscription: *subscription };
        let Some(row) = &held.row else {
            problems.push(format!("{id:?} has rows but does not exist"));
            continue;
        };
        let cleared = row.floor.max(row.copied);
        if cleared < head.trimmed {
            problems.push(format!("{id:?}: cleared up to {cleared}, trimmed up to {}", head.trimmed));
        }
        ack::check(rows, id, held, row, head.next_sequence, problems);
        leases::check(rows, id, held, row, head.next_sequence, problems);
    }
}

/// Checks that every sequence that was not trimmed has a body and is in one entry.
fn messages(id: QueueRef, queue: &Queue, head: &QueueHeadRow, problems: &mut Vec<String>) {
    let mut report = |problem: String| problems.push(format!("{id:?}: {problem}"));
    let untrimmed = head.trimmed..head.next_sequence;
    if !queue.bodies.keys().copied().eq(untrimmed.clone()) {
        report(format!("{} bodies in the place of {untrimmed:?}", queue.bodies.len()));
    }
    let mut next = untrimmed.start;
    for (first, entry) in &queue.entries {
        let end = first.saturating_add(entry.payload_bytes.len() as u64);
        if *first != next {
            report(format!("an entry begins at {first} in the place of {next}"));
        }
        let bytes: u64 = queue.bodies.range(*first..end).map(|(_, bytes)| bytes).sum();
        if bytes != entry.stored_bytes {
            report(format!("the entry at {first} holds {bytes} bytes, counted as {}", entry.stored_bytes));
        }
        if queue.origins.get(first) != entry.dead_letter.as_ref() {
            report(format!("the entry at {first} says that it came from {:?}", entry.dead_letter));
        }
        next = end;
    }
    if next != untrimmed.end {
        report(format!("entries end at {next}, the queue at {}", untrimmed.end));
    }
    if queue.origins.len() as u64 > head.dead_letters {
        report(format!("{} dead letters, counted as {}", queue.origins.len(), head.dead_letters));
    }
    stored_bytes(queue, head, &mut report);
}

fn stored_bytes(queue: &Queue, head: &QueueHeadRow, report: &mut dyn FnMut(String)) {
    let relocated = queue.subscriptions.values().flat_map(|held| held.relocated.values());
    let stored: u64 = queue.bodies.values().chain(relocated).sum();
    if stored != head.stored_bytes {
        report(format!("bodies hold {stored} bytes, counted as {}", head.stored_bytes));
    }
    let passed: u64 = queue.bodies.range(..head.passed).map(|(_, bytes)| bytes).sum();
    if passed != head.passed_bytes || passed >= TRIM_BYTES {
        report(format!("passed bodies hold {passed} bytes, counted as {}", head.passed_bytes));
    }
    if head.passed < head.trimmed || head.passed - head.trimmed >= STRIDE {
        report(format!("passed is up to {}, trimmed up to {}", head.passed, head.trimmed));
    }
    let rows = queue.subscriptions.values().filter_map(|held| held.row.as_ref());
    let cleared = rows.map(|row| row.floor.max(row.copied)).min().unwrap_or(0);
    // `passed` cannot rise: the next publish, if any, ends beyond what is cleared.
    let next = queue.entries.get(&head.passed).map(|entry| head.passed + entry.payload_bytes.len() as u64);
    if head.passed > cleared || next.is_some_and(|end| end <= cleared) {
        report(format!("passed is up to {}, cleared up to {cleared}", head.passed));
    }
    if head.passed != head.next_sequence && next.is_none() {
        report(format!("no publish begins at {}", head.passed));
    }
    reached(queue, head, report);
}

fn reached(queue: &Queue, head: &QueueHeadRow, report: &mut dyn FnMut(String)) {
    let reached = head.passed..head.reached.max(head.passed);
    let bytes: u64 = queue.bodies.range(reached.clone()).map(|(_, bytes)| bytes).sum();
    if bytes != head.reached_bytes {
        report(format!("{reached:?} hold {bytes} bytes, counted as {}", head.reached_bytes));
    }
    if reached.end != head.next_sequence && !queue.entries.contains_key(&reached.end) {
        report(format!("no publish begins at {}", reached.end));
    }
}

//! A queue's head, its bodies and entries, and its producer sessions.

use super::{
    ack, leases,
    rows::{Queue, Rows},
};
use crate::{
    ids::{QueueRef, SubscriptionRef},
    keys::Timer,
    limits::PRODUCER_KEPT_MS,
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
    producers(rows, id, queue, head, problems);
    for (subscription, held) in &queue.subscriptions {
        let id = SubscriptionRef { queue: id, subscription: *subscription };
        let Some(row) = &held.row else {
            problems.push(format!("{id:?} has rows but does not exist"));
            continue;
        };
        if row.floor < head.trimmed {
            problems.push(format!("{id:?}: floor {} is below what was trimmed, {}", row.floor, head.trimmed));
        }
        ack::check(rows, id, held, row, head.next_sequence, problems);
        leases::check(rows, id, held, row, head.next_sequence, problems);
    }
}

/// Every sequence that was not trimmed has a body and stands in one entry.
fn messages(id: QueueRef, queue: &Queue, head: &QueueHeadRow, problems: &mut Vec<String>) {
    let kept = head.trimmed.max(1)..head.next_sequence;
    if !queue.bodies.iter().copied().eq(kept.clone()) {
        problems.push(format!("{id:?}: {} bodies in the place of {kept:?}", queue.bodies.len()));
    }
    // The first entry may begin below what was trimmed.
    let mut next = queue.entries.keys().next().map_or(kept.start, |first| *first.min(&kept.start));
    for (first, entry) in &queue.entries {
        let end = first.saturating_add(entry.payload_bytes.len() as u64);
        if *first != next || end <= kept.start {
            problems.push(format!("{id:?}: an entry begins at {first} in the place of {next}"));
        }
        next = end;
    }
    if next != kept.end.max(kept.start) {
        problems.push(format!("{id:?}: entries end at {next}, the queue at {}", kept.end));
    }
}

fn producers(rows: &Rows, id: QueueRef, queue: &Queue, head: &QueueHeadRow, problems: &mut Vec<String>) {
    if queue.producers.len() != head.producers as usize {
        problems.push(format!("{id:?}: {} producers, counted as {}", queue.producers.len(), head.producers));
    }
    for (producer, row) in &queue.producers {
        let due = rows.first_due(&Timer::Producer(id, producer.clone()));
        if due.is_none_or(|due| due > row.last_used_ms.saturating_add(PRODUCER_KEPT_MS)) {
            problems.push(format!("{id:?}: producer {producer:?} would not be forgotten"));
        }
    }
}

//! Checks producer sessions: each will be forgotten, and is in its publisher's order if it was used since there is one.

use std::collections::BTreeMap;

use super::rows::{Queue, Rows};
use crate::{
    ids::{QueueRef, TenantId},
    keys::{Publisher, Timer},
    limits::{PRODUCER_REORDER_MS, PRODUCER_RETENTION_MS},
    schema::QueueHeadRow,
};

pub(super) fn check(
    rows: &Rows,
    id: QueueRef,
    queue: &Queue,
    head: &QueueHeadRow,
    problems: &mut Vec<String>,
) {
    let mut report = |problem: String| problems.push(format!("{id:?}: {problem}"));
    if queue.producers.len() != head.producers as usize {
        report(format!("{} producers, counted as {}", queue.producers.len(), head.producers));
    }
    let mut sessions = BTreeMap::<Publisher, (u32, u64)>::new();
    for (producer, row) in &queue.producers {
        let forget_at = row.last_used_ms.saturating_add(PRODUCER_RETENTION_MS);
        let timer = Timer::Producer(id, producer.clone());
        let timer_is_known = row.timer_ms == 0 || rows.is_due(&timer, row.timer_ms);
        if rows.first_due(&timer).is_none_or(|due| due > forget_at) || !timer_is_known {
            report(format!("producer {producer:?} would not be forgotten"));
        }
        if row.ordered_ms == 0 {
            continue;
        }
        let (tenant, subject) = (TenantId(row.tenant), row.subject.clone());
        let publisher = Publisher { queue: id, tenant, subject };
        let behind = row.last_used_ms.checked_sub(row.ordered_ms);
        let entry = (publisher.clone(), row.ordered_ms, producer.clone());
        if behind.is_none_or(|behind| behind >= PRODUCER_REORDER_MS) || !queue.producer_uses.contains(&entry)
        {
            let (used, ordered) = (row.last_used_ms, row.ordered_ms);
            report(format!("producer {producer:?} was used at {used} and should be ordered by {ordered}"));
        }
        let (count, first) = sessions.entry(publisher).or_insert((0, u64::MAX));
        (*count, *first) = (*count + 1, row.ordered_ms.min(*first));
    }
    let ordered: u32 = sessions.values().map(|(count, _)| count).sum();
    if queue.producer_uses.len() != ordered as usize {
        report(format!("{} producers in order, {ordered} that say so", queue.producer_uses.len()));
    }
    for publisher in sessions.keys().chain(queue.publishers.keys()) {
        let (counted, found) = (queue.publishers.get(publisher), sessions.get(publisher));
        let right = |row: &crate::schema::PublisherRow| {
            found.is_some_and(|(count, first)| row.sessions == *count && row.first_ms <= *first)
        };
        if !counted.is_some_and(right) {
            report(format!("{publisher:?} has {found:?} sessions, counted as {counted:?}"));
        }
    }
}

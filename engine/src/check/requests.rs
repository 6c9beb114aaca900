//! Checks the requests that are remembered: each is in order, and will be forgotten.

use super::rows::{Requests, Rows};
use crate::{
    keys::{Requester, Timer},
    limits::{MAX_REQUEST_ID_BYTES, MAX_REQUESTS, REQUEST_DIGEST_BYTES, REQUEST_RETENTION_MS},
};

pub(super) fn check(rows: &Rows, requester: &Requester, held: &Requests, problems: &mut Vec<String>) {
    let mut report = |problem: String| problems.push(format!("{requester:?}: {problem}"));
    let Some(row) = held.row else { return report("requests but no row of their requester".into()) };
    if row.first == 0 || row.first >= row.next || row.next - row.first > MAX_REQUESTS {
        report(format!("requests {} to {}", row.first, row.next));
    }
    if !held.order.keys().copied().eq(row.first..row.next) || held.done.len() != held.order.len() {
        let (order, done) = (held.order.keys(), held.done.len());
        report(format!(
            "of requests {} to {}, {order:?} are in order, {done} are there",
            row.first, row.next
        ));
    }
    if !held.order.values().is_sorted_by_key(|order| order.done_at_ms) {
        report("requests are not in the order of their time".into());
    }
    for (number, order) in &held.order {
        let done = held.done.get(&order.id).filter(|done| done.number == *number);
        let whole = done.filter(|done| done.answer.is_some() && done.digest.len() == REQUEST_DIGEST_BYTES);
        if whole.is_none() || !(1..=MAX_REQUEST_ID_BYTES).contains(&order.id.len()) {
            report(format!("request {number} is not whole"));
        }
    }
    if let Some(oldest) = held.order.values().next() {
        let forget_at = oldest.done_at_ms.saturating_add(REQUEST_RETENTION_MS).max(rows.shard.now_ms);
        if rows.first_due(&Timer::Requests(requester.clone())).is_none_or(|due| due > forget_at) {
            report(format!("a request done at {} would not be forgotten", oldest.done_at_ms));
        }
    }
}

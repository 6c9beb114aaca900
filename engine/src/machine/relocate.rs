//! Relocation: copies the bodies of unsettled messages, so that everything around them can be trimmed.
//!
//! Without it an unsettled message would keep all bodies behind it on the disk and in the tenant's account, settled
//! ones too. `state/floor.rs` relocates by the number of messages left in a chunk; this module relocates by bytes.
//!
//! A settlement does not count the bytes that it makes useless. Instead the publishes that settlements have *reached*
//! are counted, each once. Only when these hold many bytes are the unsettled messages among them examined.

use bytes::Bytes;

use super::Transaction;
use crate::{
    apply::{
        entry::{self, SizeReader},
        message,
    },
    halt::Halt,
    keys::{Key, RelocatedBodyKey},
    limits::{
        EXAMINE_AGAIN_AFTER, EXAMINED_PER_SETTLED, MAX_EXAMINED, MAX_REACH, MAX_RELOCATED,
        MAX_RELOCATED_BYTES, RELOCATE_FROM_BYTES, RELOCATE_GAIN,
    },
    schema::QueueHeadRow,
    state::{Queue, Subscription},
};

/// When to relocate. Tests of small cases use smaller numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) from_bytes: u64,
    pub(super) gain: u64,
    pub(super) examine_again_after: u64,
    pub(super) max_bodies: usize,
    pub(super) max_bytes: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            from_bytes: RELOCATE_FROM_BYTES,
            gain: RELOCATE_GAIN,
            examine_again_after: EXAMINE_AGAIN_AFTER,
            max_bodies: MAX_RELOCATED,
            max_bytes: MAX_RELOCATED_BYTES,
        }
    }
}

/// The bodies and bytes that a batch may still copy.
pub(super) struct CopyBudget {
    copies: usize,
    bytes: u64,
    /// A body did not fit.
    spent: bool,
}

impl CopyBudget {
    pub(super) const fn of(rule: Rule) -> Self {
        Self { copies: rule.max_bodies, bytes: rule.max_bytes, spent: false }
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        self.spent |= self.copies == 0 || self.bytes < bytes;
        if !self.spent {
            self.copies -= 1;
            self.bytes -= bytes;
        }
        !self.spent
    }
}

/// Relocates the bodies of unsettled messages if that frees enough. Returns whether it does.
pub(super) fn relieve(
    txn: &mut Transaction<'_>,
    queue: &mut Queue,
    budget: &mut CopyBudget,
) -> Result<bool, Halt> {
    let rule = txn.relocation;
    if queue.head.stored_bytes.saturating_sub(queue.head.passed_bytes) < rule.from_bytes {
        return Ok(false);
    }
    reach(txn, queue)?;
    let settled = queue.settled();
    if queue.head.reached_bytes < rule.from_bytes || settled < queue.head.examine_after || budget.spent {
        return Ok(false);
    }
    let (unsettled_bytes, examined) = examine(txn, queue)?;
    let gain = queue.head.reached_bytes.saturating_sub(unsettled_bytes);
    let worth = gain >= unsettled_bytes.saturating_mul(rule.gain);
    if worth {
        for subscription in queue.subscriptions.values_mut() {
            queue.head.stored_bytes += copy(txn, subscription, queue.head.reached, budget)?;
        }
    }
    let pause = rule.examine_again_after.max(examined / EXAMINED_PER_SETTLED);
    queue.head.examine_after = if worth && budget.spent { 0 } else { settled + pause };
    queue.head_changed = true;
    Ok(worth)
}

/// Writes the copy of a body. Returns its bytes.
pub(super) fn put(txn: &mut Transaction<'_>, subscription: &Subscription, sequence: u64, body: Bytes) -> u64 {
    let bytes = body.len() as u64;
    txn.rows.put_parts(
        RelocatedBodyKey::FAMILY,
        subscription.relocated_key(sequence).encode(),
        body,
        Bytes::new(),
    );
    bytes
}

/// Takes a publish off the reached ones, since it was passed.
pub(super) fn unreach(head: &mut QueueHeadRow, bytes: u64) -> Result<(), Halt> {
    let Some(left) = head.reached_bytes.checked_sub(bytes) else {
        return Err(Halt::Invariant(format!("{bytes} bytes are passed of {} reached", head.reached_bytes)));
    };
    head.reached_bytes = left;
    Ok(())
}

/// Counts the publishes up to the newest settled message of every subscription, a bounded number at a time.
fn reach(txn: &Transaction<'_>, queue: &mut Queue) -> Result<(), Halt> {
    let Some(beyond) = queue.subscriptions.values().map(Subscription::beyond_settled).min() else {
        return Ok(());
    };
    for _ in 0..MAX_REACH {
        let from = queue.head.reached.max(queue.head.passed);
        if from >= beyond {
            break;
        }
        let entry = entry::beginning_at(&txn.rows, queue, from)?;
        if entry.end() > beyond {
            break;
        }
        queue.head.reached = entry.end();
        queue.head.reached_bytes += entry.stored_bytes;
        queue.head_changed = true;
    }
    Ok(())
}

/// The bytes of the unsettled messages among the reached publishes, and the number of messages examined. Stops when the
/// bytes are too many for relocation to be worth it. If there are more messages than it may examine, it takes the
/// rest to be as large as those.
fn examine(txn: &Transaction<'_>, queue: &Queue) -> Result<(u64, u64), Halt> {
    let end = queue.head.reached;
    let enough = queue.head.reached_bytes / (1 + txn.relocation.gain);
    let (mut bytes, mut examined, mut others) = (0, 0, 0);
    for subscription in queue.subscriptions.values() {
        let mut sizes = SizeReader::default();
        let mut at = subscription.next_unsettled(subscription.cleared());
        while at < end && bytes <= enough && examined < MAX_EXAMINED {
            bytes += sizes.read(&txn.rows, &queue.recent, queue.id, at)?;
            examined += 1;
            at = subscription.next_unsettled(at + 1);
        }
        others += subscription.unsettled_between(at, end);
    }
    if examined == MAX_EXAMINED {
        bytes = bytes.saturating_add((bytes / examined).saturating_mul(others));
    }
    Ok((bytes, examined))
}

/// Relocates the unsettled messages below `end` as far as the budget goes. Returns the bytes.
fn copy(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    end: u64,
    budget: &mut CopyBudget,
) -> Result<u64, Halt> {
    let mut bytes = 0;
    let mut at = subscription.cleared();
    loop {
        at = subscription.next_unsettled(at).min(end);
        if at >= end {
            break;
        }
        let body = message::read(&txn.rows, subscription, at)?;
        if !budget.reserve(body.len() as u64) {
            break;
        }
        bytes += put(txn, subscription, at, body);
        at += 1;
    }
    subscription.row_changed |= subscription.row.copied < at;
    subscription.row.copied = subscription.row.copied.max(at);
    Ok(bytes)
}

//! The end of a batch: watermarks rise, bodies are trimmed, and each state that has changed is written once.

use std::collections::VecDeque;

#[cfg(feature = "planted-bugs")]
use super::plant::Plant;
use super::{Transaction, relocate};
use crate::{
    apply::{entry, message},
    effect::Effect,
    halt::{Halt, ensure},
    ids::DepartmentId,
    keys::{self, EntryKey, HeadKey, Key, ProgressKey, ShardKey, SubscriptionKey},
    kv::{Family, Writes},
    limits::{CHUNK, PASSING_PAGE, STRIDE, TRIM_BYTES},
    schema::{DepartmentRow, QueueHeadRow},
    state::{Entry, Queue, Subscription},
    views::Usage,
};

/// The results of a batch, but for its outcomes.
pub(super) struct Flushed {
    pub(super) writes: Writes,
    pub(super) effects: Vec<Effect>,
    pub(super) usages: Vec<(DepartmentId, Usage)>,
}

pub(super) fn flush(mut txn: Transaction<'_>) -> Result<Flushed, Halt> {
    let mut budget = relocate::CopyBudget::of(txn.relocation);
    for id in std::mem::take(&mut txn.touched) {
        let Some(mut queue) = txn.queues.remove(&id) else {
            return Err(Halt::Invariant(format!("queue {id:?} was borrowed and not returned")));
        };
        for subscription in queue.subscriptions.values_mut() {
            let relocated_bytes = raise_floor(&mut txn, subscription, queue.head.next_sequence)?;
            let freed_bytes = std::mem::take(&mut subscription.freed_bytes);
            queue.head_changed |= relocated_bytes != freed_bytes;
            queue.head.stored_bytes += relocated_bytes;
            free(&mut queue.head, freed_bytes)?;
        }
        pass(&txn, &mut queue)?;
        if relocate::relieve(&mut txn, &mut queue, &mut budget)? {
            pass(&txn, &mut queue)?;
        }
        trim(&mut txn, &mut queue)?;
        for subscription in queue.subscriptions.values_mut() {
            write_subscription(&mut txn, subscription);
        }
        let charged_bytes = std::mem::replace(&mut queue.charged_bytes, queue.head.stored_bytes);
        if charged_bytes != queue.charged_bytes {
            txn.charge(id.department, queue.charged_bytes, charged_bytes);
        }
        if std::mem::take(&mut queue.head_changed) {
            txn.rows.put(&HeadKey { queue: id }, &queue.head);
        }
        txn.queues.insert(id, queue);
    }
    let usages = charge_departments(&mut txn)?;
    let shard = ShardKey { shard: txn.shard };
    txn.rows.put(&shard, txn.shard_row);
    Ok(Flushed { writes: txn.rows.into_writes(), effects: txn.effects, usages })
}

/// Raises the floor of a subscription. Returns the bytes that it has relocated.
fn raise_floor(
    txn: &mut Transaction<'_>,
    subscription: &mut Subscription,
    next_sequence: u64,
) -> Result<u64, Halt> {
    #[cfg(feature = "planted-bugs")]
    let before = subscription.row.floor;
    subscription.raise_floor();
    let mut relocated_bytes = 0;
    while let Some(stragglers) = subscription.stragglers() {
        for sequence in stragglers {
            let body = message::read(&txn.rows, subscription, sequence)?;
            relocated_bytes += relocate::put(txn, subscription, sequence, body);
        }
        subscription.pass_chunk();
    }
    #[cfg(feature = "planted-bugs")]
    if txn.plant == Some(Plant::SkipFloor)
        && before < subscription.row.floor
        && subscription.row.floor < next_sequence
    {
        subscription.row.floor += 1;
    }
    let floor = subscription.row.floor;
    ensure!(floor <= next_sequence, "the floor {floor} is beyond the head {next_sequence}");
    Ok(relocated_bytes)
}

fn write_subscription(txn: &mut Transaction<'_>, subscription: &mut Subscription) {
    let id = subscription.id;
    for (chunk, is_done) in subscription.drain_changed_chunks() {
        let key = subscription.chunk_key(chunk);
        match subscription.chunks.get(&chunk) {
            Some(chunk) if !is_done => txn.rows.put(&key, &chunk.to_row()),
            _ => txn.rows.delete(&key),
        }
    }
    for lease in std::mem::take(&mut subscription.changed_leases) {
        // A lease that has closed was written then.
        if let Some(open) = subscription.leases.get_mut(&lease) {
            open.changed = false;
            txn.rows.put(&ProgressKey { subscription: id, lease: open.id }, &open.progress(0));
        }
    }
    let first_open = subscription.leases.keys().next().copied().unwrap_or(subscription.row.next_lease);
    subscription.row_changed |= first_open != subscription.row.first_open;
    subscription.row.first_open = first_open;
    if std::mem::take(&mut subscription.row_changed) {
        txn.rows.put(&SubscriptionKey { subscription: id }, &subscription.row);
    }
}

/// Moves `passed` over the publishes whose bodies no subscription needs any more.
fn pass(txn: &Transaction<'_>, queue: &mut Queue) -> Result<(), Halt> {
    let Some(cleared) = queue.subscriptions.values().map(Subscription::cleared).min() else {
        return Ok(());
    };
    let id = queue.id;
    let mut page = VecDeque::new();
    while queue.head.passed < cleared {
        let passed = queue.head.passed;
        // The floor jumps far when the message that held it back is settled: then many publishes are read at once.
        if page.is_empty() && queue.passing.is_none() && cleared - passed > CHUNK {
            page = entry::following(&txn.rows, id, passed, cleared, PASSING_PAGE)?;
        }
        let next = page.pop_front().filter(|entry: &Entry| entry.first_sequence == passed);
        let passing = match queue.passing.or(next) {
            Some(entry) => entry,
            None => entry::beginning_at(&txn.rows, queue, passed)?,
        };
        queue.passing = Some(passing).filter(|entry| entry.end() > cleared);
        if queue.passing.is_some() {
            break;
        }
        queue.head.passed = passing.end();
        queue.head.passed_bytes += passing.stored_bytes;
        if passing.first_sequence < queue.head.reached {
            relocate::unreach(&mut queue.head, passing.stored_bytes)?;
        }
        queue.head_changed = true;
    }
    Ok(())
}

/// Deletes the bodies and entries of the passed publishes, if they are many or large enough.
fn trim(txn: &mut Transaction<'_>, queue: &mut Queue) -> Result<(), Halt> {
    let (id, lane, head) = (queue.id, queue.lane, &mut queue.head);
    if head.passed - head.trimmed < STRIDE && head.passed_bytes < TRIM_BYTES {
        return Ok(());
    }
    let body = |sequence| keys::body(id, lane, sequence);
    let entry = |first_sequence| EntryKey { queue: id, first_sequence }.encode();
    txn.rows.delete_range(Family::Body, body(head.trimmed), body(head.passed));
    txn.rows.delete_range(Family::Entry, entry(head.trimmed), entry(head.passed));
    free(head, head.passed_bytes)?;
    (head.trimmed, head.passed_bytes) = (head.passed, 0);
    Ok(())
}

fn free(head: &mut QueueHeadRow, bytes: u64) -> Result<(), Halt> {
    let Some(left) = head.stored_bytes.checked_sub(bytes) else {
        return Err(Halt::Invariant(format!("{bytes} bytes are freed of {}", head.stored_bytes)));
    };
    head.stored_bytes = left;
    Ok(())
}

/// Charges departments for their queues. Returns what each department whose row has changed holds now.
fn charge_departments(txn: &mut Transaction<'_>) -> Result<Vec<(DepartmentId, Usage)>, Halt> {
    let mut usages = Vec::new();
    for (id, (added, freed)) in std::mem::take(&mut txn.charges) {
        let Some(row) = txn.department(id)?.copied() else {
            return Err(Halt::Corrupt(format!("department {id} has queues but no row")));
        };
        let Some(stored_bytes) = (row.stored_bytes + added).checked_sub(freed) else {
            return Err(Halt::Invariant(format!("{freed} bytes are freed of department {id}: {row:?}")));
        };
        let row = DepartmentRow { stored_bytes, ..row };
        txn.put_department(id, row);
        usages.push((id, Usage::of(&row)));
    }
    Ok(usages)
}

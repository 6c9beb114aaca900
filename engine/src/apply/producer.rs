//! Producer sessions: they make it safe to send a publish again.

use bytes::Bytes;

use super::publisher;
use crate::{
    halt::Halt,
    ids::QueueRef,
    keys::{ProducerKey, Timer},
    limits::{
        MAX_PRODUCERS_OF_OLD, PRODUCER_KNOWN_MESSAGES, PRODUCER_PAST_BATCHES, PRODUCER_REFUSED_RUNS,
        PRODUCER_RETENTION_MS, VERSION_OF_FAIR_SESSIONS,
    },
    machine::Transaction,
    outcome::{EntryResult, PublishError},
    schema::{
        Producer, ProducerRow, PublishEntry,
        producer_row::{PastBatch, RefusedRun},
    },
    state::Queue,
};

/// How a session judges a batch.
pub(super) enum Verdict {
    /// The batch is new: store it if its session is [admitted](admit), then [`remember`] it.
    Store(Session),
    /// The batch was stored before, with these results; [`use_again`] keeps the session from becoming idle.
    Duplicate(Session, Vec<EntryResult>),
    Refuse(PublishError),
}

pub(super) struct Session {
    key: ProducerKey,
    row: ProducerRow,
    first_sequence: u64,
    is_new: bool,
}

// This and the other inlined functions run for every publish and are called in one place each: whether the compiler
// inlines them must not depend on other code.
#[inline]
pub(super) fn judge(
    txn: &Transaction<'_>,
    queue: &Queue,
    producer: Producer,
    count: usize,
) -> Result<Verdict, Halt> {
    let key = ProducerKey { queue: queue.id, producer: producer.producer_id };
    let known = txn.rows.row(&key)?;
    let is_new = known.is_none();
    let refuse = |error| Ok(Verdict::Refuse(error));
    let row = match known {
        None if txn.version < VERSION_OF_FAIR_SESSIONS && queue.head.producers >= MAX_PRODUCERS_OF_OLD => {
            return refuse(PublishError::TooManyProducers(MAX_PRODUCERS_OF_OLD));
        }
        None => ProducerRow {
            epoch: producer.epoch,
            tenant: producer.tenant,
            subject: producer.subject,
            ..ProducerRow::default()
        },
        Some(row) if row.tenant != producer.tenant || row.subject != producer.subject => {
            return refuse(PublishError::ForeignProducer);
        }
        Some(row) if producer.epoch < row.epoch => {
            return refuse(PublishError::Fenced { current: row.epoch, found: producer.epoch });
        }
        Some(row) if producer.epoch > row.epoch => ProducerRow {
            epoch: producer.epoch,
            next_sequence: 0,
            past: Vec::new(),
            refused: Vec::new(),
            ..row
        },
        Some(row) => row,
    };
    let (first_sequence, expected) = (producer.first_sequence, row.next_sequence);
    if first_sequence == expected {
        return Ok(Verdict::Store(Session { key, row, first_sequence, is_new }));
    }
    if first_sequence.saturating_add(count as u64) > expected {
        return refuse(PublishError::SequenceGap { expected, found: first_sequence });
    }
    let results = earlier(&row, first_sequence, count);
    Ok(Verdict::Duplicate(Session { key, row, first_sequence, is_new }, results))
}

/// The results of an earlier attempt, however it was cut into batches. Sequences are known of the last batches; which
/// messages were refused is known of [`PRODUCER_KNOWN_MESSAGES`], in at most [`PRODUCER_REFUSED_RUNS`] runs.
fn earlier(row: &ProducerRow, first_sequence: u64, count: usize) -> Vec<EntryResult> {
    let result = |sequence: u64| {
        let past = |past: &&PastBatch| holds(past.first_sequence, past.count.into(), sequence);
        let Some(past) = row.past.iter().find(past) else {
            let behind = row.refused.partition_point(|run| run.first_sequence <= sequence);
            let run = behind.checked_sub(1).and_then(|at| row.refused.get(at));
            return match run.is_some_and(|run| holds(run.first_sequence, run.count, sequence)) {
                true => EntryResult::Refused,
                false => EntryResult::Duplicate(None),
            };
        };
        let index = sequence - past.first_sequence;
        let refused = past.refused.partition_point(|refused| u64::from(*refused) < index);
        match past.refused.get(refused).is_some_and(|refused| u64::from(*refused) == index) {
            true => EntryResult::Refused,
            false => EntryResult::Duplicate(Some(past.first_stored + index - refused as u64)),
        }
    };
    (first_sequence..).take(count).map(result).collect()
}

fn holds(first_sequence: u64, count: u64, sequence: u64) -> bool {
    sequence.checked_sub(first_sequence).is_some_and(|behind| behind < count)
}

/// Admits a session. For a new one, an idle session of its publisher may be forgotten.
#[inline]
pub(super) fn admit(
    txn: &mut Transaction<'_>,
    queue: &mut Queue,
    session: &Session,
) -> Result<Result<(), PublishError>, Halt> {
    if !session.is_new || txn.version < VERSION_OF_FAIR_SESSIONS {
        return Ok(Ok(()));
    }
    publisher::ensure_capacity(txn, queue, &session.row)
}

/// Records the use of a session whose batch was sent again.
pub(super) fn use_again(txn: &mut Transaction<'_>, queue: &Queue, session: Session) -> Result<(), Halt> {
    let Session { key, mut row, .. } = session;
    if txn.version >= VERSION_OF_FAIR_SESSIONS && row.last_used_ms < txn.now {
        used(txn, queue, &key, &mut row)?;
        txn.rows.put(&key, &row);
    }
    Ok(())
}

fn used(
    txn: &mut Transaction<'_>,
    queue: &Queue,
    key: &ProducerKey,
    row: &mut ProducerRow,
) -> Result<(), Halt> {
    row.last_used_ms = txn.now;
    if txn.version >= VERSION_OF_FAIR_SESSIONS { publisher::used(txn, queue, key, row) } else { Ok(()) }
}

/// Records a batch that was stored from `first_stored` on in its session.
#[inline]
pub(super) fn remember(
    txn: &mut Transaction<'_>,
    queue: &mut Queue,
    session: Session,
    entries: &[PublishEntry],
    first_stored: u64,
) -> Result<(), Halt> {
    let Session { key, mut row, first_sequence, is_new } = session;
    let refused = (0..).zip(entries).filter(|(_, entry)| entry.refused).map(|(index, _)| index).collect();
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    if row.past.len() >= PRODUCER_PAST_BATCHES {
        let oldest = row.past.remove(0);
        forget(&mut row.refused, &oldest);
    }
    row.past.push(PastBatch { first_sequence, count, first_stored, refused });
    row.next_sequence = first_sequence.saturating_add(count.into());
    let long_ago = row.next_sequence.saturating_sub(PRODUCER_KNOWN_MESSAGES);
    let too_many = row.refused.len().saturating_sub(PRODUCER_REFUSED_RUNS);
    let old = row.refused.partition_point(|run| run.first_sequence + run.count <= long_ago);
    row.refused.drain(..old.max(too_many));
    if is_new {
        queue.head.producers += 1;
        queue.head_changed = true;
        let due = txn.after(PRODUCER_RETENTION_MS);
        txn.put_timer(due, Timer::Producer(queue.id, key.producer.clone()));
        if txn.version >= VERSION_OF_FAIR_SESSIONS {
            row.timer_ms = due;
        }
    }
    used(txn, queue, &key, &mut row)?;
    txn.rows.put(&key, &row);
    Ok(())
}

/// Forgets a batch but for which of its messages were refused.
fn forget(refused: &mut Vec<RefusedRun>, batch: &PastBatch) {
    for index in &batch.refused {
        let sequence = batch.first_sequence + u64::from(*index);
        match refused.last_mut().filter(|run| run.first_sequence + run.count == sequence) {
            Some(run) => run.count += 1,
            None => refused.push(RefusedRun { first_sequence: sequence, count: 1 }),
        }
    }
}

/// The timer of a session: forgets it, or sets the timer for the rest of its time.
pub(super) fn due(txn: &mut Transaction<'_>, id: QueueRef, producer: Bytes) -> Result<(), Halt> {
    let key = ProducerKey { queue: id, producer };
    let Some(mut row) = txn.rows.row(&key)? else { return Ok(()) };
    let forget_at = row.last_used_ms.saturating_add(PRODUCER_RETENTION_MS);
    if forget_at > txn.now {
        if row.timer_ms > 0 {
            row.timer_ms = forget_at;
            txn.rows.put(&key, &row);
        }
        txn.put_timer(forget_at, Timer::Producer(id, key.producer));
        return Ok(());
    }
    let Some(mut queue) = txn.borrow_queue(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a producer session but no definition")));
    };
    forget_session(txn, &mut queue, &key, &row)?;
    txn.return_queue(queue);
    Ok(())
}

/// Deletes a session. Its timer stays, and does nothing when it fires.
pub(super) fn forget_session(
    txn: &mut Transaction<'_>,
    queue: &mut Queue,
    key: &ProducerKey,
    row: &ProducerRow,
) -> Result<(), Halt> {
    txn.rows.delete(key);
    publisher::forget(txn, queue, key, row)?;
    queue.head.producers = queue.head.producers.saturating_sub(1);
    queue.head_changed = true;
    Ok(())
}

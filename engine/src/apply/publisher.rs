//! The producer sessions of one publisher in a queue, in the order of their use. Their number is limited, and the
//! longest idle one is forgotten for a new one.

use super::producer::forget_session;
use crate::{
    halt::Halt,
    ids::TenantId,
    keys::{Key, ProducerKey, ProducerUseKey, Publisher, PublisherKey, Timer},
    kv::Kv as _,
    limits::{MAX_PRODUCERS_EXAMINED, MAX_PRODUCERS_OF_SUBJECT, PRODUCER_REORDER_MS, PRODUCER_SAFE_MS},
    machine::Transaction,
    outcome::PublishError,
    overlay::decode_key,
    schema::{ProducerRow, PublisherRow},
    state::Queue,
};

/// Makes sure that a publisher may have one more session: if it has as many as it may, its longest idle one is
/// forgotten.
pub(super) fn ensure_capacity(
    txn: &mut Transaction<'_>,
    queue: &mut Queue,
    new: &ProducerRow,
) -> Result<Result<(), PublishError>, Halt> {
    let publisher = publisher(queue, new)?;
    let at = PublisherKey { publisher };
    for _ in 0..MAX_PRODUCERS_EXAMINED {
        let Some(mut counted) =
            txn.rows.row(&at)?.filter(|counted| counted.sessions >= MAX_PRODUCERS_OF_SUBJECT)
        else {
            return Ok(Ok(()));
        };
        let first = first(txn, &at.publisher, counted)?;
        // The session was used at that time, or later.
        if first.used_ms.saturating_add(PRODUCER_SAFE_MS) > txn.now {
            let wait_ms = first.used_ms.saturating_add(PRODUCER_SAFE_MS) - txn.now;
            return Ok(Err(PublishError::TooManyOfSubject { limit: MAX_PRODUCERS_OF_SUBJECT, wait_ms }));
        }
        let key = ProducerKey { queue: queue.id, producer: first.producer.clone() };
        let Some(mut row) = txn.rows.row(&key)? else {
            return Err(Halt::Corrupt(format!("{key:?} is in the order of use and nowhere else")));
        };
        counted.first_ms = first.used_ms;
        txn.rows.put(&at, &counted);
        if row.last_used_ms > row.ordered_ms {
            txn.rows.delete(&first);
            row.ordered_ms = row.last_used_ms;
            txn.rows.put(&ProducerUseKey { used_ms: row.ordered_ms, ..first }, &());
            txn.rows.put(&key, &row);
        } else {
            if row.timer_ms > 0 {
                txn.delete_timer(row.timer_ms, Timer::Producer(queue.id, key.producer.clone()));
            }
            forget_session(txn, queue, &key, &row)?;
        }
    }
    // All sessions that were examined were used after the time they are ordered by. The next new session examines
    // those after them.
    match txn.rows.row(&at)?.filter(|counted| counted.sessions >= MAX_PRODUCERS_OF_SUBJECT) {
        Some(_) => Ok(Err(PublishError::TooManyOfSubject { limit: MAX_PRODUCERS_OF_SUBJECT, wait_ms: 0 })),
        None => Ok(Ok(())),
    }
}

/// Orders a session by its last use, unless it is ordered by a use that is recent enough.
#[inline]
pub(super) fn used(
    txn: &mut Transaction<'_>,
    queue: &Queue,
    key: &ProducerKey,
    row: &mut ProducerRow,
) -> Result<(), Halt> {
    if row.ordered_ms > 0 && row.last_used_ms - row.ordered_ms < PRODUCER_REORDER_MS {
        return Ok(());
    }
    order(txn, queue, key, row)
}

#[inline(never)]
fn order(
    txn: &mut Transaction<'_>,
    queue: &Queue,
    key: &ProducerKey,
    row: &mut ProducerRow,
) -> Result<(), Halt> {
    let publisher = publisher(queue, row)?;
    let mut key_of_use =
        ProducerUseKey { publisher, used_ms: row.ordered_ms, producer: key.producer.clone() };
    if row.ordered_ms > 0 {
        txn.rows.delete(&key_of_use);
    } else {
        let at = PublisherKey { publisher: key_of_use.publisher.clone() };
        let counted = txn.rows.row(&at)?;
        // Sessions that are added later come after it.
        let counted = counted.unwrap_or(PublisherRow { sessions: 0, first_ms: row.last_used_ms });
        txn.rows.put(&at, &PublisherRow { sessions: counted.sessions + 1, ..counted });
    }
    row.ordered_ms = row.last_used_ms;
    key_of_use.used_ms = row.ordered_ms;
    txn.rows.put(&key_of_use, &());
    Ok(())
}

/// Takes a session that is forgotten out of the order.
pub(super) fn forget(
    txn: &mut Transaction<'_>,
    queue: &Queue,
    key: &ProducerKey,
    row: &ProducerRow,
) -> Result<(), Halt> {
    if row.ordered_ms == 0 {
        return Ok(());
    }
    let publisher = publisher(queue, row)?;
    let at = PublisherKey { publisher: publisher.clone() };
    txn.rows.delete(&ProducerUseKey { publisher, used_ms: row.ordered_ms, producer: key.producer.clone() });
    match txn.rows.row(&at)? {
        Some(counted) if counted.sessions > 1 => {
            txn.rows.put(&at, &PublisherRow { sessions: counted.sessions - 1, ..counted });
        }
        Some(_) => txn.rows.delete(&at),
        None => return Err(Halt::Corrupt(format!("{key:?} is counted nowhere"))),
    }
    Ok(())
}

/// The session of a publisher that is first in the order.
fn first(
    txn: &Transaction<'_>,
    publisher: &Publisher,
    counted: PublisherRow,
) -> Result<ProducerUseKey, Halt> {
    // The range begins at the first session: the keys before it were deleted, and skipping those takes time.
    let (from, end) = (ProducerUseKey::from(publisher, counted.first_ms), ProducerUseKey::end(publisher));
    match txn.rows.range(ProducerUseKey::FAMILY, &from, &end, 1)?.pop() {
        Some((key, _)) => decode_key(&key),
        None => {
            Err(Halt::Corrupt(format!("{publisher:?} has {} sessions and none in order", counted.sessions)))
        }
    }
}

fn publisher(queue: &Queue, row: &ProducerRow) -> Result<Publisher, Halt> {
    if row.subject.len() > usize::from(u16::MAX) {
        return Err(Halt::Malformed("a producer with too long a subject"));
    }
    Ok(Publisher { queue: queue.id, tenant: TenantId(row.tenant), subject: row.subject.clone() })
}

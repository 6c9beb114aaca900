//! Stores the messages of a publish.

use bytes::Bytes;

use super::{
    lane,
    producer::{self, Verdict},
    queue_ref,
};
use crate::{
    body,
    halt::Halt,
    ids::{Lane, QueueRef},
    keys::{self, EntryKey},
    kv::Family,
    limits::MAX_PUBLISH_ENTRIES,
    machine::Transaction,
    outcome::{EntryResult, PublishError, Published},
    schema::{BodyHeader, EntryRow, Publish, PublishEntry},
    state::Queue,
};

pub(super) fn apply(
    txn: &mut Transaction<'_>,
    command: Publish,
) -> Result<Result<Published, PublishError>, Halt> {
    let id = queue_ref(command.department, command.queue);
    lane(command.lane)?;
    if command.entries.len() > MAX_PUBLISH_ENTRIES {
        return Err(Halt::Malformed("a publish of too many messages"));
    }
    if let Err(error) = txn.open_department(id.department)? {
        return Ok(Err(error.into()));
    }
    let Some(mut queue) = txn.borrow_queue(id)? else { return Ok(Err(PublishError::QueueNotFound)) };
    let published = publish(txn, &mut queue, command)?;
    txn.return_queue(queue);
    Ok(published.map(|results| Published { published_at_ms: txn.wall, results }))
}

fn publish(
    txn: &mut Transaction<'_>,
    queue: &mut Queue,
    mut command: Publish,
) -> Result<Result<Vec<EntryResult>, PublishError>, Halt> {
    let session = match command.producer {
        None => None,
        Some(producer) => match producer::judge(txn, queue, producer, command.entries.len())? {
            Verdict::Store(session) => Some(session),
            Verdict::Duplicate(session, results) => {
                producer::use_again(txn, queue, session)?;
                return Ok(Ok(results));
            }
            Verdict::Refuse(error) => return Ok(Err(error)),
        },
    };
    if command.atomic && command.entries.iter().any(|entry| entry.refused) {
        return Ok(Err(PublishError::AtomicRefused));
    }
    if let Some(session) = &session
        && let Err(error) = producer::admit(txn, queue, session)?
    {
        return Ok(Err(error));
    }
    let lane = lane(command.lane)?;
    let first = store(txn, queue, lane, &mut command.entries);
    if let Some(session) = session {
        producer::remember(txn, queue, session, &command.entries, first)?;
    }
    let mut next = first;
    let result = |entry: &PublishEntry| {
        if entry.refused {
            return EntryResult::Refused;
        }
        next += 1;
        EntryResult::Stored(next - 1)
    };
    Ok(Ok(command.entries.iter().map(result).collect()))
}

/// Stores the messages that were not refused, and moves their contents out. Returns the first sequence; 0 if none is
/// stored.
// Not inlined, so that other code does not change how its loop is compiled.
#[inline(never)]
fn store(txn: &mut Transaction<'_>, queue: &mut Queue, lane: Lane, entries: &mut [PublishEntry]) -> u64 {
    let mut payload_bytes = Vec::with_capacity(entries.len());
    payload_bytes.extend(entries.iter().filter(|entry| !entry.refused).map(|entry| entry.payload_bytes));
    if payload_bytes.is_empty() {
        return 0;
    }
    let id = queue.id;
    let first = queue.head.next_sequence;
    let (published_at_ms, wall_ahead_ms) = (txn.now, txn.wall_ahead());
    let header = BodyHeader { published_at_ms, wall_ahead_ms, lane: lane.0.into(), ..BodyHeader::default() };
    let mut heads = Heads::new(header);
    let mut stored_bytes = 0;
    txn.rows.reserve(Family::Body, payload_bytes.len());
    for (sequence, entry) in (first..).zip(entries.iter_mut().filter(|entry| !entry.refused)) {
        let head = heads.of(entry.payload_bytes, &entry.content_head);
        let content = std::mem::take(&mut entry.content);
        stored_bytes += (head.len() + content.len()) as u64;
        txn.rows.put_parts(Family::Body, keys::body(id, lane, sequence), head, content);
    }
    let lane = lane.0.into();
    append(
        txn,
        queue,
        &EntryRow { published_at_ms, lane, payload_bytes, stored_bytes, dead_letter: None, wall_ahead_ms },
    )
}

/// Appends a publish whose bodies are stored. Returns the first sequence.
fn append(txn: &mut Transaction<'_>, queue: &mut Queue, row: &EntryRow) -> u64 {
    let first_sequence = queue.append(row);
    txn.rows.put(&EntryKey { queue: queue.id, first_sequence }, row);
    txn.appended(queue.id, queue.head.next_sequence - 1);
    first_sequence
}

/// Stores a message that moves here from another queue. Returns its sequence.
pub(super) fn append_one(
    txn: &mut Transaction<'_>,
    id: QueueRef,
    header: &BodyHeader,
    content: Bytes,
) -> Result<u64, Halt> {
    let Some(mut queue) = txn.borrow_queue(id)? else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    let (sequence, lane, head) = (queue.head.next_sequence, queue.lane, body::head(header, &[]));
    let row = EntryRow {
        published_at_ms: header.published_at_ms,
        lane: header.lane,
        payload_bytes: vec![header.payload_bytes],
        stored_bytes: (head.len() + content.len()) as u64,
        dead_letter: header.dead_letter.clone(),
        wall_ahead_ms: header.wall_ahead_ms,
    };
    txn.rows.put_parts(Family::Body, keys::body(id, lane, sequence), head, content);
    queue.head.dead_letters += u64::from(header.dead_letter.is_some());
    let sequence = append(txn, &mut queue, &row);
    txn.return_queue(queue);
    Ok(sequence)
}

/// Encodes the heads of body rows. Most messages of a publish have the same head, which is encoded once.
struct Heads {
    header: BodyHeader,
    content_head: Bytes,
    head: Bytes,
}

impl Heads {
    fn new(header: BodyHeader) -> Self {
        Self { head: body::head(&header, &[]), content_head: Bytes::new(), header }
    }

    /// The head of a message, which ends with the first part of its content.
    fn of(&mut self, payload_bytes: u32, content_head: &Bytes) -> Bytes {
        if self.header.payload_bytes != payload_bytes || self.content_head != content_head {
            self.header.payload_bytes = payload_bytes;
            self.content_head = content_head.clone();
            self.head = body::head(&self.header, content_head);
        }
        self.head.clone()
    }
}

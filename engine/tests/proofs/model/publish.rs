//! Publishes and producer sessions.

use posthouse_engine::{
    outcome::{EntryResult, PublishError, Published},
    schema::{Publish, producer_row::PastBatch},
};

use super::{Message, Model, Producer, Queue, State};

impl Model {
    pub fn publish(&mut self, command: &Publish) -> Result<Published, PublishError> {
        self.department(command.department)?;
        let (now, wall) = (self.now, self.wall);
        let at = self.by_id(command.department, command.queue).ok_or(PublishError::QueueNotFound)?;
        let queue = &mut self.queues[at];
        if let Some(results) = session(queue, command)? {
            let producer = command.producer.as_ref().map(|requested| &requested.producer_id);
            let held = producer.and_then(|id| queue.producers.get_mut(id));
            held.expect("it is known").used_at = now;
            return Ok(Published { published_at_ms: wall, results });
        }
        if command.atomic && command.entries.iter().any(|entry| entry.refused) {
            return Err(PublishError::AtomicRefused);
        }
        let mut results = Vec::new();
        for entry in &command.entries {
            if entry.refused {
                results.push(EntryResult::Refused);
                continue;
            }
            queue.messages.push(Message {
                content: [&entry.content_head[..], &entry.content].concat().into(),
                size: entry.payload_bytes,
                published_at: now,
                wall_published_at: wall,
                origin: None,
                failures: 0,
                delivered: false,
                state: State::Free,
            });
            results.push(EntryResult::Stored(queue.messages.len() as u64));
        }
        remember(queue, command, &results, now);
        Ok(Published { published_at_ms: wall, results })
    }
}

/// The results of an earlier attempt, if there was one.
fn session(queue: &Queue, command: &Publish) -> Result<Option<Vec<EntryResult>>, PublishError> {
    let Some(requested) = &command.producer else { return Ok(None) };
    let count = command.entries.len() as u64;
    let held = queue.producers.get(&requested.producer_id);
    if let Some(held) = held {
        if held.tenant != requested.tenant || held.subject != requested.subject {
            return Err(PublishError::ForeignProducer);
        }
        if requested.epoch < held.epoch {
            return Err(PublishError::Fenced { current: held.epoch, found: requested.epoch });
        }
    }
    let held = held.filter(|held| held.epoch == requested.epoch);
    let expected = held.map_or(0, |held| held.next);
    if requested.first_sequence == expected {
        return Ok(None);
    }
    if requested.first_sequence + count > expected {
        return Err(PublishError::SequenceGap { expected, found: requested.first_sequence });
    }
    let past = held.map_or(&[][..], |held| &held.past);
    let answered = |sequence: u64| {
        let holds = |batch: &PastBatch| {
            (batch.first_sequence..batch.first_sequence + u64::from(batch.count)).contains(&sequence)
        };
        let at = past.iter().position(holds).expect("every sequence is of a batch");
        let (batch, index) = (&past[at], (sequence - past[at].first_sequence) as u32);
        if batch.refused.contains(&index) {
            return EntryResult::Refused;
        }
        let stored = (0..index).filter(|before| !batch.refused.contains(before)).count() as u64;
        EntryResult::Duplicate((at + 8 >= past.len()).then_some(batch.first_stored + stored))
    };
    Ok(Some((requested.first_sequence..).take(count as usize).map(answered).collect()))
}

fn remember(queue: &mut Queue, command: &Publish, results: &[EntryResult], now: u64) {
    let Some(requested) = &command.producer else { return };
    let count = command.entries.len() as u32;
    let stored = |result: &EntryResult| if let EntryResult::Stored(at) = result { Some(*at) } else { None };
    let past = PastBatch {
        first_sequence: requested.first_sequence,
        count,
        first_stored: results.iter().find_map(stored).unwrap_or(0),
        refused: (0..count).filter(|index| command.entries[*index as usize].refused).collect(),
    };
    let held = queue.producers.entry(requested.producer_id.clone()).or_insert_with(|| Producer {
        epoch: requested.epoch,
        next: 0,
        tenant: requested.tenant,
        subject: requested.subject.clone(),
        used_at: now,
        past: Vec::new(),
    });
    if held.epoch != requested.epoch {
        held.epoch = requested.epoch;
        held.past.clear();
    }
    held.next = requested.first_sequence + u64::from(count);
    held.used_at = now;
    held.past.push(past);
}

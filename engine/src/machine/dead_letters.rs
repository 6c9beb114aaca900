//! A scan for dead letters, a bounded piece at a time.

use super::{ShardMachine, stats::status};
use crate::{
    apply::{entry::FactReader, failure},
    halt::Halt,
    ids::SubscriptionRef,
    kv::Kv,
    limits::{DEAD_LETTER_SCAN_BYTES, DEAD_LETTER_SCAN_ROWS},
    overlay::Overlay,
    schema::QueueHeadRow,
    state::{Queue, Subscription},
    views::MessageStatus,
};

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The dead letters, by sequence.
    pub found: Vec<MessageStatus>,
    /// The sequence to continue from; `None` at the end of the queue.
    pub next: Option<u64>,
}

impl ShardMachine {
    /// At most `limit` messages from a sequence on that came from another queue as dead letters, or are parked. A
    /// scan reads a bounded number of rows, so that it may find none before the end.
    ///
    /// # Errors
    /// When the store cannot be read or is damaged; the machine can be used further.
    pub fn dead_letters(
        &mut self,
        kv: &dyn Kv,
        id: SubscriptionRef,
        from: u64,
        limit: usize,
    ) -> Result<Option<DeadLetters>, Halt> {
        self.inspect(kv, id, |rows, Queue { head, .. }, subscription| {
            scan(rows, head, subscription, from, limit)
        })
    }
}

fn scan(
    rows: &Overlay<'_>,
    head: &QueueHeadRow,
    subscription: &Subscription,
    from: u64,
    limit: usize,
) -> Result<DeadLetters, Halt> {
    let (mut found, mut reader) = (Vec::new(), FactReader::default());
    let mut at = from;
    for examined in 0.. {
        let Some(sequence) = candidate(head, subscription, at) else { break };
        let spent = examined == DEAD_LETTER_SCAN_ROWS || reader.body_bytes >= DEAD_LETTER_SCAN_BYTES;
        if found.len() == limit || spent {
            return Ok(DeadLetters { found, next: Some(sequence) });
        }
        let facts = reader.read(rows, head, subscription, sequence)?;
        let retry = failure::retry(rows, subscription, sequence)?;
        if facts.origin.is_some() || retry.is_some_and(|row| row.parked) {
            found.push(status(rows, head, subscription, sequence, &mut reader)?);
            at = sequence + 1;
        } else {
            // No other message of a normal publish is a dead letter but those that are parked.
            at = subscription.next_waiting(sequence + 1).map_or(facts.end, |waiting| waiting.min(facts.end));
        }
    }
    Ok(DeadLetters { found, next: None })
}

/// The next message that may be a dead letter.
fn candidate(head: &QueueHeadRow, subscription: &Subscription, at: u64) -> Option<u64> {
    if head.dead_letters == 0 {
        return subscription.next_waiting(at);
    }
    Some(subscription.next_unsettled(at)).filter(|sequence| *sequence < head.next_sequence)
}

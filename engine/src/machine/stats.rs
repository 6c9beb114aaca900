//! Queries of counts and of the status of messages.

use super::ShardMachine;
use crate::{
    apply::{entry::FactReader, failure},
    halt::Halt,
    ids::{DepartmentId, SubscriptionRef},
    kv::Kv,
    overlay::Overlay,
    schema::QueueHeadRow,
    state::{Queue, Subscription},
    views::{MessageState, MessageStatus, Stats, Usage},
};

/// Each query fails with [`Halt`] if the store cannot be read or is damaged; the machine can be used further.
#[allow(clippy::missing_errors_doc)]
impl ShardMachine {
    /// The counts and sums of a subscription and its queue.
    pub fn stats(&mut self, kv: &dyn Kv, id: SubscriptionRef) -> Result<Option<Stats>, Halt> {
        self.inspect(kv, id, |rows, queue, subscription| stats(rows, &queue.head, subscription))
    }

    /// The queues and bytes of a department: one row, however many queues it has.
    pub fn department_usage(&mut self, kv: &dyn Kv, id: DepartmentId) -> Result<Option<Usage>, Halt> {
        Ok(self.query(kv).department(id)?.map(Usage::of))
    }

    /// The status of one message; `None` if it was never published.
    pub fn message_status(
        &mut self,
        kv: &dyn Kv,
        id: SubscriptionRef,
        sequence: u64,
    ) -> Result<Option<MessageStatus>, Halt> {
        let found = self.inspect(kv, id, |rows, queue, subscription| {
            let published = 1..queue.head.next_sequence;
            if !published.contains(&sequence) {
                return Ok(None);
            }
            status(rows, &queue.head, subscription, sequence, &mut FactReader::default()).map(Some)
        })?;
        Ok(found.flatten())
    }

    pub(super) fn inspect<T>(
        &mut self,
        kv: &dyn Kv,
        id: SubscriptionRef,
        ask: impl FnOnce(&Overlay<'_>, &Queue, &Subscription) -> Result<T, Halt>,
    ) -> Result<Option<T>, Halt> {
        let mut txn = self.query(kv);
        txn.peek_queue(id.queue)?;
        let Some(queue) = txn.queues.get(&id.queue) else { return Ok(None) };
        let subscription = queue.subscriptions.get(&id.subscription);
        subscription.map(|subscription| ask(&txn.rows, queue, subscription)).transpose()
    }
}

fn stats(rows: &Overlay<'_>, head: &QueueHeadRow, subscription: &Subscription) -> Result<Stats, Halt> {
    let oldest = subscription.next_unsettled(1);
    let oldest = (oldest < head.next_sequence)
        .then(|| FactReader::default().read(rows, head, subscription, oldest))
        .transpose()?;
    let published = head.next_sequence - 1;
    Ok(Stats {
        counts: subscription.counts(head.next_sequence),
        oldest_unsettled_ms: oldest.as_ref().map(|facts| facts.wall_published_at_ms),
        oldest_published_ms: oldest.map(|facts| facts.published_at_ms),
        stored_bytes: head.stored_bytes,
        published,
        first_published_ms: (published > 0).then_some(head.first_published_at_ms),
        last_published_ms: (published > 0).then_some(head.last_published_at_ms),
        sums: subscription.row.sums.unwrap_or_default(),
    })
}

/// The status of a message that was published.
pub(super) fn status(
    rows: &Overlay<'_>,
    head: &QueueHeadRow,
    subscription: &Subscription,
    sequence: u64,
    facts: &mut FactReader,
) -> Result<MessageStatus, Halt> {
    let settled = subscription.is_settled(sequence);
    let facts = if settled && sequence < head.trimmed {
        None
    } else {
        Some(facts.read(rows, head, subscription, sequence)?)
    };
    let retry = failure::retry(rows, subscription, sequence)?.unwrap_or_default();
    let state = if settled {
        MessageState::Settled
    } else if subscription.is_leased(sequence) {
        MessageState::Leased { deadline_ms: deadline(subscription, sequence)? }
    } else if retry.parked {
        MessageState::Parked(retry.cause())
    } else if subscription.is_waiting(sequence) {
        // A message that waits for its dead-letter queue has a due time for the next attempt, which is not shown.
        MessageState::Waiting { due_ms: (retry.cause == 0).then_some(retry.due_ms) }
    } else {
        MessageState::Ready
    };
    Ok(MessageStatus {
        sequence,
        state,
        failed_attempts: retry.attempts,
        published_at_ms: facts.as_ref().map(|facts| facts.wall_published_at_ms),
        payload_bytes: facts.as_ref().map(|facts| facts.payload_bytes),
        origin: facts.and_then(|facts| facts.origin),
    })
}

fn deadline(subscription: &Subscription, sequence: u64) -> Result<u64, Halt> {
    let leases = subscription.leases.values();
    let mut deadlines = leases.filter_map(|lease| {
        let index = lease.sequences.binary_search(&sequence).ok()?;
        lease.open().any(|open| open == index).then(|| lease.deadline(index))
    });
    deadlines.next().ok_or_else(|| Halt::Invariant(format!("message {sequence} is in no open lease")))
}

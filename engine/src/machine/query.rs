//! Queries of the leader between batches. A query may make the machine read a queue; it never changes an outcome.

use super::ShardMachine;
use crate::{
    apply::{entry, request},
    body,
    halt::Halt,
    ids::{DepartmentId, LeaseId, QueueId, QueueRef, SubscriptionId, SubscriptionRef},
    keys::{self, EntryKey, Key, ProducerKey, QueueKey, QueueNameKey},
    kv::{Family, Kv, Row},
    outcome::{Change, Counts, GrantedItem, LiveDelivery, Outcome, PublishError, QueueView},
    overlay::{Overlay, decode_key, decode_row},
    schema::{DepartmentRow, EntryRow, Holder, Request},
    state::{self, Subscription},
};

/// Free messages of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Free {
    /// The messages, ascending.
    pub sequences: Vec<u64>,
    /// The sequence to continue from; the next to be published if these are all.
    pub next: u64,
}

/// A publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// The sequence of its first message.
    pub first_sequence: u64,
    /// When the publish was applied, by the time of batches, Unix milliseconds.
    pub published_at_ms: u64,
    /// The payload size of each message.
    pub payload_bytes: Vec<u32>,
}

/// Each query fails with [`Halt`] if the store cannot be read or is damaged; the machine can be used further.
#[allow(clippy::missing_errors_doc)]
impl ShardMachine {
    /// A department as the shard knows it.
    pub fn department(&mut self, kv: &dyn Kv, id: DepartmentId) -> Result<Option<DepartmentRow>, Halt> {
        Ok(self.query(kv).department(id)?.cloned())
    }

    /// The queue of a name.
    pub fn queue_by_name(
        &mut self,
        kv: &dyn Kv,
        department: DepartmentId,
        name: &str,
    ) -> Result<Option<QueueView>, Halt> {
        let mut txn = self.query(kv);
        if txn.is_set_aside(department)? {
            return Err(Halt::SetAside(department));
        }
        let Some(id) = txn.find_queue(department, name)? else { return Ok(None) };
        self.queue(kv, id)
    }

    /// A queue's definition.
    pub fn queue(&mut self, kv: &dyn Kv, id: QueueRef) -> Result<Option<QueueView>, Halt> {
        Ok(self.query(kv).peek_queue(id)?.map(state::Queue::view))
    }

    /// The outcome of repeating a request that is remembered; a refusal, if the id is another request's. `None`: no
    /// request of this id was done within the last day.
    pub fn requested(
        &self,
        kv: &dyn Kv,
        department: DepartmentId,
        request: &Request,
        change: Change,
    ) -> Result<Option<Outcome>, Halt> {
        request::find(&Overlay::new(kv), department, request, change)
    }

    /// At most `limit` queues of a department whose names are after `after`, by name.
    pub fn list_queues(
        &mut self,
        kv: &dyn Kv,
        department: DepartmentId,
        after: &str,
        limit: usize,
    ) -> Result<Vec<QueueView>, Halt> {
        let mut from = QueueNameKey { department, name: after.into() }.encode();
        if !after.is_empty() {
            from.push(0);
        }
        let end = keys::after(&QueueNameKey { department, name: String::new() }.encode());
        if self.query(kv).is_set_aside(department)? {
            return Err(Halt::SetAside(department));
        }
        let rows = Overlay::new(kv);
        let names = rows.range(Family::State, &from, &end, limit)?;
        names
            .into_iter()
            .map(|(_, value)| named(&rows, department, decode_row::<QueueNameKey>(value)?.queue))
            .collect()
    }

    /// The first `limit` of those queues of a department that have one of these names.
    pub fn find_queues<'n>(
        &mut self,
        kv: &dyn Kv,
        department: DepartmentId,
        names: impl Iterator<Item = &'n str>,
        limit: usize,
    ) -> Result<Vec<QueueView>, Halt> {
        if self.query(kv).is_set_aside(department)? {
            return Err(Halt::SetAside(department));
        }
        let rows = Overlay::new(kv);
        let mut found = Vec::new();
        for name in names {
            if found.len() == limit {
                break;
            }
            if let Some(row) = rows.row(&QueueNameKey { department, name: name.into() })? {
                found.push(named(&rows, department, row.queue)?);
            }
        }
        Ok(found)
    }

    /// The subscription of a name.
    pub fn subscription_by_name(
        &mut self,
        kv: &dyn Kv,
        id: QueueRef,
        name: &str,
    ) -> Result<Option<SubscriptionId>, Halt> {
        let mut txn = self.query(kv);
        let Some(queue) = txn.peek_queue(id)? else { return Ok(None) };
        Ok(queue
            .subscriptions
            .values()
            .find(|subscription| subscription.row.name == name)
            .map(|subscription| subscription.id.subscription))
    }

    /// The sequence that a queue's next message gets; `None` if there is no such queue.
    pub fn next_sequence(&mut self, kv: &dyn Kv, id: QueueRef) -> Result<Option<u64>, Halt> {
        Ok(self.query(kv).peek_queue(id)?.map(|queue| queue.head.next_sequence))
    }

    /// The counts of a subscription.
    pub fn counts(&mut self, kv: &dyn Kv, id: SubscriptionRef) -> Result<Option<Counts>, Halt> {
        self.with(kv, id, Subscription::counts)
    }

    /// At most `limit` free messages from a sequence on, also those below the floor. A subscription that does not
    /// exist has none.
    pub fn free_from(
        &mut self,
        kv: &dyn Kv,
        id: SubscriptionRef,
        from: u64,
        limit: usize,
    ) -> Result<Free, Halt> {
        let found = self.with(kv, id, |subscription, next| subscription.free_from(from, limit, next))?;
        let (sequences, next) = found.unwrap_or((Vec::new(), from));
        Ok(Free { sequences, next })
    }

    /// The open deliveries of a holder, session included, by lease and index.
    pub fn live_leases(
        &mut self,
        kv: &dyn Kv,
        id: SubscriptionRef,
        holder: &Holder,
    ) -> Result<Vec<LiveDelivery>, Halt> {
        Ok(self.with(kv, id, |subscription, _| live(subscription, holder))?.unwrap_or_default())
    }

    /// The sequence that a producer session must send next, or why it may not publish.
    pub fn producer_next(
        &mut self,
        kv: &dyn Kv,
        id: QueueRef,
        producer_id: &[u8],
        epoch: u64,
        tenant: u32,
        subject: &str,
    ) -> Result<Result<u64, PublishError>, Halt> {
        let mut txn = self.query(kv);
        if let Err(error) = txn.open_department(id.department)? {
            return Ok(Err(error.into()));
        }
        if txn.peek_queue(id)?.is_none() {
            return Ok(Err(PublishError::QueueNotFound));
        }
        let key = ProducerKey { queue: id, producer: bytes::Bytes::copy_from_slice(producer_id) };
        let Some(row) = txn.rows.row(&key)? else { return Ok(Ok(0)) };
        Ok(if row.tenant != tenant || row.subject != subject {
            Err(PublishError::ForeignProducer)
        } else if epoch < row.epoch {
            Err(PublishError::Fenced { current: row.epoch, found: epoch })
        } else {
            Ok(if epoch > row.epoch { 0 } else { row.next_sequence })
        })
    }

    /// The publish of a message; `None` if it was trimmed.
    pub fn entry_at(&mut self, kv: &dyn Kv, id: QueueRef, sequence: u64) -> Result<Option<EntryView>, Halt> {
        let found = entry::row(&Overlay::new(kv), id, sequence)?;
        Ok(found.map(|(first_sequence, row)| view(first_sequence, row)))
    }

    /// The size of a message's payload, read from its body: for messages whose publish was trimmed. 0: it has no body.
    pub fn payload_bytes(&mut self, kv: &dyn Kv, id: SubscriptionRef, sequence: u64) -> Result<u32, Halt> {
        let stored = self
            .with(kv, id, |subscription, _| body::read(kv, id, subscription.lane, sequence))?
            .transpose()?;
        let header = stored.flatten().map(body::split).transpose();
        let header = header.map_err(|why| Halt::Corrupt(format!("message {sequence} of {id:?}: {why}")))?;
        Ok(header.map_or(0, |(header, _)| header.payload_bytes))
    }

    /// At most `limit` publishes in order, beginning with the one whose first message is `first_sequence`. None, if
    /// no publish begins there.
    pub fn entries_from(
        &mut self,
        kv: &dyn Kv,
        id: QueueRef,
        first_sequence: u64,
        limit: usize,
    ) -> Result<Vec<EntryView>, Halt> {
        let at = |first_sequence| EntryKey { queue: id, first_sequence }.encode();
        let rows = kv.range(EntryKey::FAMILY, &at(first_sequence), &at(u64::MAX), limit)?;
        let view = |(key, value): Row| {
            let first_sequence = decode_key::<EntryKey>(&key)?.first_sequence;
            Ok(view(first_sequence, decode_row::<EntryKey>(value)?))
        };
        let found = rows.into_iter().map(view).collect::<Result<Vec<_>, Halt>>()?;
        Ok(if found.first().is_some_and(|entry| entry.first_sequence == first_sequence) {
            found
        } else {
            Vec::new()
        })
    }

    fn with<T>(
        &mut self,
        kv: &dyn Kv,
        id: SubscriptionRef,
        ask: impl FnOnce(&Subscription, u64) -> T,
    ) -> Result<Option<T>, Halt> {
        let mut txn = self.query(kv);
        let Some(queue) = txn.peek_queue(id.queue)? else { return Ok(None) };
        let next = queue.head.next_sequence;
        Ok(queue.subscriptions.get(&id.subscription).map(|subscription| ask(subscription, next)))
    }
}

fn view(first_sequence: u64, row: EntryRow) -> EntryView {
    EntryView { first_sequence, published_at_ms: row.published_at_ms, payload_bytes: row.payload_bytes }
}

fn named(rows: &Overlay<'_>, department: DepartmentId, queue: u32) -> Result<QueueView, Halt> {
    let id = QueueRef { department, queue: QueueId(queue) };
    let row = rows.row(&QueueKey { queue: id })?;
    let Some((row, settings)) = row.and_then(|mut row| row.settings.take().map(|settings| (row, settings)))
    else {
        return Err(Halt::Corrupt(format!("queue {id:?} has a name but no definition")));
    };
    Ok(state::view(id, &row, &settings))
}

fn live(subscription: &Subscription, holder: &Holder) -> Vec<LiveDelivery> {
    let theirs = subscription.leases.values().filter(|lease| lease.holder == *holder);
    let deliveries = theirs.flat_map(|lease| {
        lease.open().filter_map(|index| {
            let item = GrantedItem {
                index: u32::try_from(index).ok()?,
                sequence: lease.sequences[index],
                attempt: lease.attempt(index),
            };
            let (nonce, deadline_ms) = (lease.nonce, lease.deadline(index));
            Some(LiveDelivery { lease: LeaseId(lease.id.0), nonce, deadline_ms, item })
        })
    });
    deliveries.collect()
}

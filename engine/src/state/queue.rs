//! A queue: its definition, its head and its subscriptions.

use std::collections::BTreeMap;

use super::{Entries, Entry, Subscription};
use crate::{
    ids::{Lane, QueueRef, SubscriptionId},
    outcome::QueueView,
    schema::{EntryRow, QueueHeadRow, QueueRow, QueueSettings},
};

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: QueueRef,
    /// The lane of its messages.
    pub(crate) lane: Lane,
    pub(crate) definition: QueueRow,
    pub(crate) settings: QueueSettings,
    pub(crate) head: QueueHeadRow,
    /// The head's row is written at the batch's end.
    pub(crate) head_changed: bool,
    /// The part of `head.stored_bytes` that the department has been charged for.
    pub(crate) charged_bytes: u64,
    pub(crate) recent: Entries,
    /// The publish that begins at `head.passed`, if it is known.
    pub(crate) passing: Option<Entry>,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// The index of the batch that used the queue last, for eviction.
    pub(crate) used_at: u64,
}

/// A subscription with the facts of its queue that a command may need.
pub(crate) struct SubscriptionContext<'a> {
    pub(crate) definition: &'a QueueRow,
    pub(crate) settings: &'a QueueSettings,
    pub(crate) head: &'a QueueHeadRow,
    pub(crate) recent: &'a Entries,
    pub(crate) subscription: &'a mut Subscription,
}

impl Queue {
    pub(crate) fn context(&mut self, subscription: SubscriptionId) -> Option<SubscriptionContext<'_>> {
        Some(SubscriptionContext {
            subscription: self.subscriptions.get_mut(&subscription)?,
            definition: &self.definition,
            settings: &self.settings,
            head: &self.head,
            recent: &self.recent,
        })
    }

    /// Assigns sequences to the messages of a publish. Returns the first.
    pub(crate) fn append(&mut self, row: &EntryRow) -> u64 {
        let (first_sequence, count) = (self.head.next_sequence, row.payload_bytes.len() as u64);
        let (published_at_ms, stored_bytes) = (row.published_at_ms, row.stored_bytes);
        let wall_published_at_ms = row.wall_published_at_ms();
        if first_sequence == 1 {
            self.head.first_published_at_ms = wall_published_at_ms;
        }
        self.head.last_published_at_ms = wall_published_at_ms;
        self.head.next_sequence += count;
        self.head.stored_bytes += stored_bytes;
        self.head_changed = true;
        self.recent.push(Entry { first_sequence, count, published_at_ms, stored_bytes });
        for subscription in self.subscriptions.values_mut() {
            subscription.unsettled += count;
        }
        first_sequence
    }

    /// The publish that begins at a sequence, if it is in memory.
    pub(crate) fn known(&self, first_sequence: u64) -> Option<Entry> {
        let read = |subscription: &Subscription| subscription.reading.find(first_sequence);
        let found = self.recent.find(first_sequence).or_else(|| self.subscriptions.values().find_map(read));
        found.filter(|entry| entry.first_sequence == first_sequence)
    }

    /// The number of settlements, summed over all subscriptions.
    pub(crate) fn settled(&self) -> u64 {
        let published = self.head.next_sequence - 1;
        self.subscriptions.values().map(|subscription| published.saturating_sub(subscription.unsettled)).sum()
    }

    pub(crate) fn view(&self) -> QueueView {
        view(self.id, &self.definition, &self.settings)
    }
}

/// A definition as it is answered to callers.
pub(crate) fn view(id: QueueRef, definition: &QueueRow, settings: &QueueSettings) -> QueueView {
    QueueView {
        department: id.department,
        queue: id.queue,
        name: definition.name.clone(),
        revision: definition.revision,
        created_at_ms: definition.created_at_ms,
        updated_at_ms: definition.updated_at_ms,
        settings: settings.clone(),
    }
}

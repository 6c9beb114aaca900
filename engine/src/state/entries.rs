//! Publishes in memory: those that came last, so that a consumer that keeps up looks nothing up in the store, and those
//! where a subscription is reading.

use std::collections::VecDeque;

use crate::limits::RECENT_ENTRIES;

/// What is to be known of a publish when its messages are delivered or trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) first_sequence: u64,
    pub(crate) count: u64,
    pub(crate) published_at_ms: u64,
    pub(crate) stored_bytes: u64,
}

impl Entry {
    /// The sequence after its last message.
    pub(crate) const fn end(&self) -> u64 {
        self.first_sequence + self.count
    }

    pub(crate) const fn holds(&self, sequence: u64) -> bool {
        self.first_sequence <= sequence && sequence < self.end()
    }
}

/// A window of them, without gaps.
#[derive(Debug, Default)]
pub(crate) struct Entries(VecDeque<Entry>);

impl Entries {
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.0.len() == RECENT_ENTRIES {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    /// Adds publishes that were read. Those that do not follow what is there take its context.
    pub(crate) fn read(&mut self, page: impl IntoIterator<Item = Entry>) {
        for entry in page {
            if self.end().is_some_and(|end| end != entry.first_sequence) {
                self.0.clear();
            }
            self.push(entry);
        }
    }

    /// The sequence after the last message of the last.
    pub(crate) fn end(&self) -> Option<u64> {
        self.0.back().map(Entry::end)
    }

    /// The publish of a message, if it is among them.
    pub(crate) fn find(&self, sequence: u64) -> Option<Entry> {
        let after = self.0.partition_point(|entry| entry.first_sequence <= sequence);
        self.0.get(after.checked_sub(1)?).copied().filter(|entry| entry.holds(sequence))
    }
}

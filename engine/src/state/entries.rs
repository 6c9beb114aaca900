//! Publishes in memory: the newest ones, so that a consumer that keeps up causes no reads of the store, and those
//! where a subscription delivers.

use std::collections::VecDeque;

use crate::limits::RECENT_ENTRIES;

/// The facts of a publish that are needed when its messages are delivered or trimmed.
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

/// Publishes that follow each other without a gap.
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

    /// Adds publishes that were read. If they do not follow the known ones, they replace them.
    pub(crate) fn read(&mut self, page: impl IntoIterator<Item = Entry>) {
        for entry in page {
            if self.end().is_some_and(|end| end != entry.first_sequence) {
                self.0.clear();
            }
            self.push(entry);
        }
    }

    /// The sequence after the last message of the last publish.
    pub(crate) fn end(&self) -> Option<u64> {
        self.0.back().map(Entry::end)
    }

    /// The publish of a message, if it is known.
    pub(crate) fn find(&self, sequence: u64) -> Option<Entry> {
        let after = self.0.partition_point(|entry| entry.first_sequence <= sequence);
        self.0.get(after.checked_sub(1)?).copied().filter(|entry| entry.holds(sequence))
    }
}

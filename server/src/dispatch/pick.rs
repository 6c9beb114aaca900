//! Which messages to lease next: returned ones first, then onward from a cursor.

use std::collections::{BTreeSet, VecDeque};

use posthouse_engine::{
    halt::Halt,
    ids::SubscriptionRef,
    kv::Kv,
    machine::{EntryView, ShardMachine},
};

use super::session::Session;

/// Free sequences read ahead.
const WINDOW: usize = 1_024;
/// Publishes read at once.
const ENTRIES: usize = 16;
/// Beyond this many returned messages it is cheaper to search for them from the beginning.
const MAX_RETURNED: usize = 65_536;

/// Messages in the order they are leased in.
pub(crate) trait Line {
    /// The next, if there is one.
    fn next(&mut self) -> Result<Option<u64>, Halt>;

    /// The size of the next.
    fn size(&mut self, sequence: u64) -> Result<u32, Halt>;

    /// The next is picked.
    fn advance(&mut self, sequence: u64);
}

/// The messages picked for a session.
pub(crate) struct Picked {
    /// Sequence and size of each; 0 where bytes are not counted.
    pub(crate) messages: Vec<(u64, u32)>,
    /// The session has too few bytes of credit for the next.
    pub(crate) short: bool,
}

/// Up to `want` messages that this session has credit for, in order.
pub(crate) fn pick(line: &mut impl Line, session: &mut Session, want: usize) -> Result<Picked, Halt> {
    let mut messages = Vec::new();
    while messages.len() < want {
        let Some(sequence) = line.next()? else { break };
        let size = if session.counts_bytes() { line.size(sequence)? } else { 0 };
        if !session.spend(size) {
            return Ok(Picked { messages, short: true });
        }
        line.advance(sequence);
        messages.push((sequence, size));
    }
    Ok(Picked { messages, short: false })
}

/// Messages that are stored and free.
pub(crate) struct Stored<'a> {
    pub(crate) picker: &'a mut Picker,
    pub(crate) at: SubscriptionRef,
    pub(crate) machine: &'a mut ShardMachine,
    pub(crate) kv: &'a dyn Kv,
}

impl Line for Stored<'_> {
    fn next(&mut self) -> Result<Option<u64>, Halt> {
        self.picker.peek(self.at, self.machine, self.kv)
    }

    fn size(&mut self, sequence: u64) -> Result<u32, Halt> {
        self.picker.size(self.at, self.machine, self.kv, sequence)
    }

    fn advance(&mut self, sequence: u64) {
        self.picker.advance(sequence);
    }
}

/// Messages that the next batch stores.
pub(crate) struct ToStore<'a> {
    /// The sequence of the first that is not picked ...
    pub(crate) first: u64,
    /// ... and the sizes from there on.
    pub(crate) sizes: &'a [u32],
}

impl Line for ToStore<'_> {
    fn next(&mut self) -> Result<Option<u64>, Halt> {
        Ok(self.sizes.first().map(|_| self.first))
    }

    fn size(&mut self, _: u64) -> Result<u32, Halt> {
        Ok(self.sizes.first().copied().unwrap_or(0))
    }

    fn advance(&mut self, _: u64) {
        self.sizes = self.sizes.get(1..).unwrap_or_default();
        self.first += 1;
    }
}

#[derive(Default)]
pub(crate) struct Picker {
    /// Every free message below it has been picked, or is in `window` or `returned`.
    cursor: u64,
    window: VecDeque<u64>,
    returned: BTreeSet<u64>,
    /// Consecutive publishes at the last position that was read, for the sizes.
    entries: VecDeque<EntryView>,
}

impl Picker {
    pub(crate) fn returned(&mut self, sequences: Vec<u64>) {
        self.returned.extend(sequences.into_iter().filter(|s| *s < self.cursor));
        if self.returned.len() > MAX_RETURNED {
            *self = Self::default();
        }
    }

    /// Whether there is a message to pick.
    pub(crate) fn is_ready(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<bool, Halt> {
        Ok(self.peek(at, machine, kv)?.is_some())
    }

    fn peek(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
    ) -> Result<Option<u64>, Halt> {
        if let Some(first) = self.returned.first() {
            return Ok(Some(*first));
        }
        if self.window.is_empty() {
            let free = machine.free_from(kv, at, self.cursor, WINDOW)?;
            self.cursor = self.cursor.max(free.next);
            self.window = free.sequences.into();
        }
        Ok(self.window.front().copied())
    }

    fn advance(&mut self, sequence: u64) {
        if !self.returned.remove(&sequence) {
            self.window.pop_front();
        }
    }

    /// The size of a message's payload.
    pub(crate) fn size(
        &mut self,
        at: SubscriptionRef,
        machine: &mut ShardMachine,
        kv: &dyn Kv,
        sequence: u64,
    ) -> Result<u32, Halt> {
        if let Some(size) = self.known_size(sequence) {
            return Ok(size);
        }
        // Mostly the next publish: then some are read that follow, too.
        let next = self.entries.back().is_some_and(|last| end(last) == sequence);
        self.entries = match next {
            true => machine.entries_from(kv, at.queue, sequence, ENTRIES)?.into(),
            false => machine.entry_at(kv, at.queue, sequence)?.into_iter().collect(),
        };
        match self.known_size(sequence) {
            Some(size) => Ok(size),
            // Its publish was trimmed.
            None => machine.payload_bytes(kv, at, sequence),
        }
    }

    fn known_size(&self, sequence: u64) -> Option<u32> {
        let after = self.entries.partition_point(|entry| entry.first_sequence <= sequence);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        let index = usize::try_from(sequence.checked_sub(entry.first_sequence)?).ok()?;
        entry.payload_bytes.get(index).copied()
    }
}

/// The sequence after the last message of a publish.
fn end(entry: &EntryView) -> u64 {
    entry.first_sequence + entry.payload_bytes.len() as u64
}

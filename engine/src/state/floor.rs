//! How the floor rises: over settled messages, and over chunks whose few unsettled messages (stragglers) are relocated.

use super::{
    Subscription,
    chunk::{bit, number, sequence},
};
use crate::limits::{CHUNK, MAX_RELOCATED_PER_CHUNK, PASS_AFTER_CHUNKS};

impl Subscription {
    /// Raises the floor to the lowest message that is not settled.
    pub(crate) fn raise_floor(&mut self) {
        let before = self.row.floor;
        while let Some(chunk) = self.chunks.get(&number(self.row.floor)) {
            let number = number(self.row.floor);
            match chunk.settled.first_clear(bit(self.row.floor)) {
                Some(clear) => {
                    self.row.floor = sequence(number, clear);
                    break;
                }
                None => {
                    self.changed_chunks.push(number);
                    self.row.floor = (number + 1) * CHUNK;
                }
            }
        }
        self.row_changed |= self.row.floor != before;
    }

    /// Every message below is settled, or its body is relocated.
    pub(crate) fn cleared(&self) -> u64 {
        self.row.floor.max(self.row.copied)
    }

    /// The sequence after the newest settled message; [`Self::cleared`] if that is higher.
    pub(crate) fn beyond_settled(&self) -> u64 {
        let last = self
            .chunks
            .iter()
            .rev()
            .find_map(|(number, chunk)| chunk.settled.last_set().map(|bit| sequence(*number, bit) + 1));
        last.unwrap_or(0).max(self.cleared())
    }

    /// A lower bound of the unsettled messages between two sequences above the floor.
    pub(crate) fn unsettled_between(&self, from: u64, to: u64) -> u64 {
        let Some(all) = to.checked_sub(from) else { return 0 };
        let chunks = self.chunks.range(number(from)..=number(to));
        all.saturating_sub(chunks.map(|(_, chunk)| u64::from(chunk.settled.ones())).sum())
    }

    /// The stragglers of the floor's chunk whose bodies are not relocated yet, if the floor may pass the chunk: they
    /// are few, and the newest settled message is far beyond.
    pub(crate) fn stragglers(&self) -> Option<Vec<u64>> {
        let number = number(self.row.floor);
        let unsettled = u32::try_from(CHUNK).unwrap_or(u32::MAX) - self.chunks.get(&number)?.settled.ones();
        if unsettled > MAX_RELOCATED_PER_CHUNK {
            return None;
        }
        let (head, _) = self.chunks.iter().rev().find(|(_, chunk)| chunk.settled.ones() > 0)?;
        if *head < number + PASS_AFTER_CHUNKS {
            return None;
        }
        let chunk = self.chunks.get(&number)?;
        let next = |from: usize| chunk.settled.first_clear(from);
        let found = std::iter::successors(next(0), |bit| {
            (*bit + 1 < CHUNK as usize).then(|| next(*bit + 1)).flatten()
        });
        let found = found.map(|bit| sequence(number, bit));
        Some(found.filter(|sequence| *sequence >= self.row.copied).collect())
    }

    /// Moves the floor beyond its chunk. Its stragglers must have been relocated.
    pub(crate) fn pass_chunk(&mut self) {
        self.row.floor = (number(self.row.floor) + 1) * CHUNK;
        self.row_changed = true;
        self.raise_floor();
    }

    /// The chunks whose rows are written at the batch's end, in order. `true`: the row is deleted, since the chunk is
    /// below the floor's and all of its messages are settled.
    pub(crate) fn drain_changed_chunks(&mut self) -> Vec<(u64, bool)> {
        let mut changed = std::mem::take(&mut self.changed_chunks);
        changed.sort_unstable();
        changed.dedup();
        let floor = number(self.row.floor);
        let done = |number: &u64| {
            self.chunks.get(number).is_none_or(|chunk| *number < floor && chunk.settled.is_full())
        };
        let changed: Vec<_> = changed.into_iter().map(|number| (number, done(&number))).collect();
        for (number, is_done) in &changed {
            if *is_done {
                self.chunks.remove(number);
            } else if let Some(chunk) = self.chunks.get_mut(number) {
                chunk.changed = false;
            }
        }
        changed
    }
}

//! A lease with deliveries that are still open.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    halt::{Halt, ensure},
    ids::LeaseId,
    schema::{Holder, LeaseRow, ProgressRow, progress_row::MovedDeadline},
};

/// What became of one message of a lease: one byte of the progress row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Index {
    Open = 0,
    Acked = 1,
    Nacked = 2,
    Released = 3,
    DeadLettered = 4,
    /// Its deadline has passed.
    Lost = 5,
    /// The message was purged before anybody had settled it.
    Purged = 6,
}

impl Index {
    pub(crate) fn from_byte(byte: u8) -> Result<Self, Halt> {
        Ok(match byte {
            0 => Self::Open,
            1 => Self::Acked,
            2 => Self::Nacked,
            3 => Self::Released,
            4 => Self::DeadLettered,
            5 => Self::Lost,
            6 => Self::Purged,
            _ => return Err(Halt::Corrupt(format!("a lease's outcome {byte}"))),
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct OpenLease {
    pub(crate) id: LeaseId,
    pub(crate) holder: Holder,
    pub(crate) nonce: u64,
    pub(crate) granted_at_ms: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) leader_epoch: u64,
    /// The messages by index, ascending.
    pub(crate) sequences: Vec<u64>,
    /// The attempt of each message; empty if all are 1.
    attempts: Vec<u32>,
    outcomes: Vec<u8>,
    moved: BTreeMap<u32, u64>,
    open: usize,
    /// When the lease's one timer is due.
    pub(crate) timer_ms: u64,
    /// The progress row is written at the batch's end.
    pub(crate) changed: bool,
}

impl OpenLease {
    /// The byte of [`Index::Lost`] in progress rows.
    pub(crate) const LOST: u8 = Index::Lost as u8;

    pub(crate) fn from_rows(id: LeaseId, lease: LeaseRow, progress: &ProgressRow) -> Result<Self, Halt> {
        let Some(holder) = lease.holder else {
            return Err(Halt::Corrupt(format!("lease {id} has no holder")));
        };
        let sequences = sequences(&lease.sequence_deltas);
        ensure!(progress.outcomes.len() == sequences.len(), "lease {id} and its progress differ in length");
        ensure!(
            lease.attempts.is_empty() || lease.attempts.len() == sequences.len(),
            "lease {id} has attempts of another length"
        );
        Ok(Self {
            id,
            holder,
            nonce: lease.nonce,
            granted_at_ms: lease.granted_at_ms,
            deadline_ms: lease.deadline_ms,
            leader_epoch: lease.leader_epoch,
            open: progress.outcomes.iter().filter(|outcome| **outcome == Index::Open as u8).count(),
            sequences,
            attempts: lease.attempts,
            outcomes: progress.outcomes.to_vec(),
            moved: progress.moved.iter().map(|moved| (moved.index, moved.deadline_ms)).collect(),
            timer_ms: progress.timer_ms,
            changed: false,
        })
    }

    pub(crate) fn progress(&self, closed_at_ms: u64) -> ProgressRow {
        let moved = self
            .moved
            .iter()
            .map(|(index, deadline_ms)| MovedDeadline { index: *index, deadline_ms: *deadline_ms });
        let open = self.open > 0;
        ProgressRow {
            outcomes: Bytes::copy_from_slice(&self.outcomes),
            // The deadlines of a closed lease are never read.
            moved: if open { moved.collect() } else { Vec::new() },
            closed_at_ms,
            timer_ms: if open { self.timer_ms } else { 0 },
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.open == 0
    }

    pub(crate) fn outcome(&self, index: usize) -> Result<Index, Halt> {
        match self.outcomes.get(index) {
            Some(byte) => Index::from_byte(*byte),
            None => Err(Halt::Invariant(format!("lease {} has no index {index}", self.id))),
        }
    }

    /// Ends the delivery of an open index.
    pub(crate) fn end(&mut self, index: usize, outcome: Index) -> Result<(), Halt> {
        ensure!(self.outcome(index)? == Index::Open, "index {index} of lease {} ends twice", self.id);
        self.outcomes[index] = outcome as u8;
        self.open -= 1;
        Ok(())
    }

    /// Purges the messages of the lease that are open, or were lost and not settled since. Returns whether any was.
    pub(crate) fn purge(&mut self, is_settled: impl Fn(u64) -> bool) -> bool {
        let mut changed = false;
        for (outcome, sequence) in self.outcomes.iter_mut().zip(&self.sequences) {
            let lost = *outcome == Index::Lost as u8 && !is_settled(*sequence);
            if lost || *outcome == Index::Open as u8 {
                *outcome = Index::Purged as u8;
                changed = true;
            }
        }
        self.open = 0;
        changed
    }

    /// The open indices, ascending.
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> + '_ {
        let is_open = |(index, outcome): (usize, &u8)| (*outcome == Index::Open as u8).then_some(index);
        self.outcomes.iter().enumerate().filter_map(is_open)
    }

    pub(crate) fn attempt(&self, index: usize) -> u32 {
        self.attempts.get(index).copied().unwrap_or(1)
    }

    pub(crate) fn deadline(&self, index: usize) -> u64 {
        let moved = u32::try_from(index).ok().and_then(|index| self.moved.get(&index));
        moved.copied().unwrap_or(self.deadline_ms)
    }

    /// Moves a deadline to a later time. Returns the deadline in force.
    pub(crate) fn extend(&mut self, index: u32, deadline_ms: u64) -> u64 {
        let deadline_ms = deadline_ms.max(self.deadline(index as usize));
        if deadline_ms > self.deadline_ms {
            self.moved.insert(index, deadline_ms);
        }
        deadline_ms
    }

    /// The earliest deadline of the open indices.
    pub(crate) fn first_deadline(&self) -> Option<u64> {
        self.open().map(|index| self.deadline(index)).min()
    }
}

/// The sequences of the differences in a lease row.
pub(crate) fn sequences(deltas: &[u64]) -> Vec<u64> {
    let add = |last: &mut u64, delta: &u64| {
        *last = last.saturating_add(*delta);
        Some(*last)
    };
    deltas.iter().scan(0, add).collect()
}

/// The differences of ascending sequences, for a lease row.
pub(crate) fn deltas(sequences: &[u64]) -> Vec<u64> {
    let less = |last: &mut u64, sequence: &u64| {
        let delta = sequence.saturating_sub(*last);
        *last = *sequence;
        Some(delta)
    };
    sequences.iter().scan(0, less).collect()
}

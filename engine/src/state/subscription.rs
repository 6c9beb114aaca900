//! A subscription: its floor, its ack chunks, its open leases and its counts.

use std::collections::BTreeMap;

use super::{
    Chunk, Entries, OpenLease,
    chunk::{bit, number},
};
use crate::{
    halt::{Halt, ensure},
    ids::{Lane, SubscriptionRef},
    keys::{AckChunkKey, RelocatedBodyKey, RetryKey, Timer},
    limits::CHUNK,
    outcome::Counts,
    schema::{SubscriptionRow, SubscriptionSums},
    state::bits::Bits,
};

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: SubscriptionRef,
    /// The lane whose messages it delivers.
    pub(crate) lane: Lane,
    pub(crate) row: SubscriptionRow,
    /// The chunks by number. In an absent one nothing is set above the floor, and all is settled below it.
    pub(crate) chunks: BTreeMap<u64, Chunk>,
    /// The open leases, by id.
    pub(crate) leases: BTreeMap<u64, OpenLease>,
    /// How many messages are not settled; `in_flight` of these are leased, and `waiting` wait or are parked.
    pub(crate) unsettled: u64,
    pub(crate) in_flight: u64,
    pub(crate) waiting: u64,
    /// No remembered lease closed before this time: the search for the oldest one begins here.
    pub(crate) closed_from_ms: u64,
    /// The publishes that messages are delivered from.
    pub(crate) reading: Entries,
    /// Bytes of the relocated bodies that this batch has deleted.
    pub(crate) freed_bytes: u64,
    /// The subscription's row is written at the batch's end.
    pub(crate) row_changed: bool,
    /// The chunks and leases whose rows are written at the batch's end.
    pub(crate) changed_chunks: Vec<u64>,
    pub(crate) changed_leases: Vec<u64>,
}

impl Subscription {
    pub(crate) const fn new(id: SubscriptionRef, lane: Lane, row: SubscriptionRow) -> Self {
        Self {
            id,
            lane,
            row,
            chunks: BTreeMap::new(),
            leases: BTreeMap::new(),
            unsettled: 0,
            in_flight: 0,
            waiting: 0,
            closed_from_ms: 0,
            reading: Entries::new(),
            freed_bytes: 0,
            row_changed: false,
            changed_chunks: Vec::new(),
            changed_leases: Vec::new(),
        }
    }

    pub(crate) const fn chunk_key(&self, chunk: u64) -> AckChunkKey {
        AckChunkKey { subscription: self.id, lane: self.lane, chunk }
    }

    pub(crate) const fn retry_key(&self, sequence: u64) -> RetryKey {
        RetryKey { subscription: self.id, lane: self.lane, sequence }
    }

    pub(crate) const fn retry_timer(&self, sequence: u64) -> Timer {
        Timer::Retry(self.id, self.lane, sequence)
    }

    pub(crate) const fn relocated_key(&self, sequence: u64) -> RelocatedBodyKey {
        RelocatedBodyKey { subscription: self.id, lane: self.lane, sequence }
    }

    pub(crate) fn counts(&self, next_sequence: u64) -> Counts {
        Counts {
            ready: self.unsettled.saturating_sub(self.in_flight).saturating_sub(self.waiting),
            in_flight: self.in_flight,
            waiting: self.waiting.saturating_sub(self.row.parked),
            parked: self.row.parked,
            last_sequence: next_sequence.saturating_sub(1),
        }
    }

    /// The sums, for adding to them.
    pub(crate) fn sums(&mut self) -> &mut SubscriptionSums {
        self.row_changed = true;
        self.row.sums.get_or_insert_default()
    }

    /// The sequence must have been published.
    pub(crate) fn is_settled(&self, sequence: u64) -> bool {
        match self.chunks.get(&number(sequence)) {
            Some(chunk) => chunk.settled.get(bit(sequence)),
            None => sequence < self.row.floor,
        }
    }

    /// The sequence must have been published.
    pub(crate) fn is_free(&self, sequence: u64) -> bool {
        match self.chunks.get(&number(sequence)) {
            Some(chunk) => chunk.is_free(bit(sequence)),
            None => sequence >= self.row.floor,
        }
    }

    pub(crate) fn is_leased(&self, sequence: u64) -> bool {
        self.chunks.get(&number(sequence)).is_some_and(|chunk| chunk.leased.get(bit(sequence)))
    }

    pub(crate) fn is_waiting(&self, sequence: u64) -> bool {
        self.chunks.get(&number(sequence)).is_some_and(|chunk| chunk.waiting.get(bit(sequence)))
    }

    /// Whether a message has a retry row: a delivery of it has ended without a settlement.
    pub(crate) fn has_failed(&self, sequence: u64) -> bool {
        self.chunks.get(&number(sequence)).is_some_and(|chunk| chunk.failed.get(bit(sequence)))
    }

    /// Leases a free message.
    pub(crate) fn lease(&mut self, sequence: u64) -> Result<(), Halt> {
        let chunk = chunk(&mut self.chunks, self.row.floor, sequence);
        ensure!(chunk.leased.set(bit(sequence)), "message {sequence} is leased twice");
        self.in_flight += 1;
        Ok(())
    }

    /// Ends the lease of a message.
    pub(crate) fn unlease(&mut self, sequence: u64) -> Result<(), Halt> {
        let chunk = chunk(&mut self.chunks, self.row.floor, sequence);
        ensure!(chunk.leased.clear(bit(sequence)), "message {sequence} was not leased");
        self.in_flight -= 1;
        Ok(())
    }

    /// Settles a message that is neither leased nor waiting. Returns whether it had a retry row.
    pub(crate) fn settle(&mut self, sequence: u64) -> Result<bool, Halt> {
        let chunk = self.changed_chunk(sequence);
        ensure!(chunk.settled.set(bit(sequence)), "message {sequence} is settled twice");
        let failed = chunk.failed.clear(bit(sequence));
        self.unsettled -= 1;
        Ok(failed)
    }

    /// Remembers that a message has a retry row.
    pub(crate) fn fail(&mut self, sequence: u64) {
        self.changed_chunk(sequence).failed.set(bit(sequence));
    }

    /// Keeps a message from being delivered.
    pub(crate) fn wait(&mut self, sequence: u64) -> Result<(), Halt> {
        ensure!(self.changed_chunk(sequence).waiting.set(bit(sequence)), "message {sequence} waits twice");
        self.waiting += 1;
        Ok(())
    }

    /// Lets a message that waited be delivered again.
    pub(crate) fn end_wait(&mut self, sequence: u64) -> Result<(), Halt> {
        ensure!(self.changed_chunk(sequence).waiting.clear(bit(sequence)), "message {sequence} did not wait");
        self.waiting -= 1;
        Ok(())
    }

    pub(crate) fn lease_changed(&mut self, lease: u64) {
        if let Some(open) = self.leases.get_mut(&lease)
            && !open.changed
        {
            open.changed = true;
            self.changed_leases.push(lease);
        }
    }

    /// Settles all messages published so far and forgets the leases. Returns how many were not settled.
    pub(crate) fn purge(&mut self, next_sequence: u64) -> u64 {
        let purged = self.unsettled;
        self.sums().purged += purged;
        self.row = SubscriptionRow { floor: next_sequence, parked: 0, ..std::mem::take(&mut self.row) };
        let fresh = Self::new(self.id, self.lane, std::mem::take(&mut self.row));
        *self = Self { row_changed: true, closed_from_ms: self.closed_from_ms, ..fresh };
        purged
    }

    // Called several times for every message: whether the compiler inlines it must not depend on other code.
    #[inline(always)]
    fn changed_chunk(&mut self, sequence: u64) -> &mut Chunk {
        let chunk = chunk(&mut self.chunks, self.row.floor, sequence);
        if !std::mem::replace(&mut chunk.changed, true) {
            self.changed_chunks.push(number(sequence));
        }
        chunk
    }
}

/// The chunk of a sequence that is not settled.
#[inline]
fn chunk(chunks: &mut BTreeMap<u64, Chunk>, floor: u64, sequence: u64) -> &mut Chunk {
    chunks.entry(number(sequence)).or_insert_with(|| {
        // An absent chunk with sequences below the floor is the floor's own: those sequences are settled.
        let settled = if number(sequence) == number(floor) { bit(floor) } else { 0 };
        Chunk { settled: Bits::below(settled), ..Chunk::default() }
    })
}

const _: () = assert!(CHUNK.is_multiple_of(64));

//! Proposals that wait for the disk, bounded in bytes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{CommitSink, GroupId, ProposeError, options::LocalLogOptions};

/// A proposal that has no index yet.
pub(super) type Proposal = (GroupId, Bytes);

/// Shared by the proposers and the current writer: the committer's thread, or one of the proposers.
#[derive(Debug)]
pub(super) struct Queue {
    entry_bytes: usize,
    queued_bytes: usize,
    patience: Duration,
    full_for: Duration,
    state: Mutex<State>,
    work: Condvar,
    not_full: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Proposal>,
    bytes: usize,
    closed: bool,
    /// The last write may be on the disk or not.
    abandoned: bool,
    /// Somebody writes. Other writers wait, so that entries are written and reported in the order of their proposals.
    locked: bool,
    full_since: Option<Instant>,
}

impl Queue {
    pub fn new(options: &LocalLogOptions) -> Self {
        Self {
            entry_bytes: options.entry_bytes,
            queued_bytes: options.queued_bytes,
            patience: options.patience,
            full_for: options.full_for,
            state: Mutex::default(),
            work: Condvar::new(),
            not_full: Condvar::new(),
        }
    }

    /// Hands a proposal to the committer's thread.
    pub fn push(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.add(self.admit(data.len())?, (group, data.into()));
        Ok(())
    }

    /// As `push`, unless nothing waits and nobody writes: then the caller gets the write lock, and its proposal back.
    pub fn push_or_lock(&self, group: GroupId, data: Vec<u8>) -> Result<Option<Proposal>, ProposeError> {
        let mut state = self.admit(data.len())?;
        let proposal = (group, data.into());
        if state.locked || !state.waiting.is_empty() {
            self.add(state, proposal);
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(proposal))
    }

    fn add(&self, mut state: MutexGuard<'_, State>, proposal: Proposal) {
        state.bytes += proposal.1.len();
        state.waiting.push_back(proposal);
        if !state.locked {
            self.work.notify_one();
        }
    }

    /// Releases the write lock.
    pub fn unlock(&self) {
        let mut state = self.lock();
        state.locked = false;
        if state.closed || !state.waiting.is_empty() {
            self.work.notify_one();
        }
    }

    /// Waits briefly for capacity for these bytes.
    fn admit(&self, bytes: usize) -> Result<MutexGuard<'_, State>, ProposeError> {
        let limit = self.entry_bytes;
        if bytes > limit {
            return Err(ProposeError::TooLarge { bytes, limit });
        }
        // An entry larger than the queue is accepted when it is alone.
        let fits = |state: &State| state.bytes == 0 || state.bytes + bytes <= self.queued_bytes;
        let (mut state, _) = self
            .not_full
            .wait_timeout_while(self.lock(), self.patience, |state| !state.closed && !fits(state))
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(ProposeError::Closed);
        }
        if state.full_since.is_some_and(|since| since.elapsed() < self.full_for) {
            return Err(ProposeError::Full);
        }
        if !fits(&state) {
            return Err(ProposeError::Busy);
        }
        state.full_since = None;
        Ok(state)
    }

    /// Waits for proposals and the write lock, and removes proposals in order until they have `bytes`, at least one.
    /// Returns none, without the lock, when the queue is closed and empty and nobody writes.
    pub fn pop_batch(&self, bytes: usize) -> Option<Vec<Proposal>> {
        let mut state = self
            .work
            .wait_while(self.lock(), |state| state.locked || state.waiting.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let mut batch = Vec::new();
        let mut size = 0;
        while size < bytes
            && let Some(proposal) = state.waiting.pop_front()
        {
            size += proposal.1.len();
            batch.push(proposal);
        }
        state.bytes -= size;
        state.locked = !batch.is_empty();
        self.not_full.notify_all();
        (!batch.is_empty()).then_some(batch)
    }

    /// The disk is full: refuses the removed and the waiting proposals, and accepts none for a while.
    pub fn refuse(&self, mut proposals: Vec<Proposal>, sink: &dyn CommitSink) {
        proposals.extend(self.empty());
        let mut groups: BTreeMap<GroupId, Vec<Bytes>> = BTreeMap::new();
        for (group, data) in proposals {
            groups.entry(group).or_default().push(data);
        }
        for (group, refused) in groups {
            sink.refused(group, refused, ProposeError::Full);
        }
    }

    /// Accepts nothing more and drops what waits: it will not be written.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.close();
        self.empty();
    }

    pub fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    fn empty(&self) -> VecDeque<Proposal> {
        let mut state = self.lock();
        state.full_since = Some(Instant::now());
        state.bytes = 0;
        self.not_full.notify_all();
        std::mem::take(&mut state.waiting)
    }

    /// How many proposals wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.bytes)
    }

    #[cfg(test)]
    pub fn is_unlocked(&self) -> bool {
        !self.lock().locked
    }

    /// There is space on the disk again.
    pub fn unfill(&self) {
        self.lock().full_since = None;
    }

    /// Takes nothing more; what waits is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.not_full.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

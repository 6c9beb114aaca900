//! The lines and records that wait to be written by the thread.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    target::{FileId, Target},
    thread,
};
use crate::limits::{MAX_LINE_BYTES, MAX_LINES_WAITING, MAX_LINES_WAITING_BYTES};

/// Records that are written at once where that is possible.
const BATCH_BYTES: usize = 64 << 10;
/// Lines that are written before waiting records are checked again.
const BATCH_LINES: usize = 64;
/// The end of a line that was cut.
const CUT: &[u8] = b" [cut]\n";

/// A line that must not get lost.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: Vec<u8>,
    /// Let go when it is written.
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

/// What the thread does next.
pub(super) enum Work {
    Records(Vec<Record>),
    Lines(Vec<Vec<u8>>),
    Sync,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: &'static str,
    /// Whether there is anything to write to.
    pub(super) is_open: bool,
    /// The identity of the file: equal for two outputs that would tear each other's lines.
    pub(super) file_id: Option<FileId>,
    state: Mutex<State>,
    /// There is something to do for the thread.
    work: Condvar,
    /// The thread has done something.
    done: Condvar,
    dropped: AtomicU64,
    written: AtomicU64,
    failures: AtomicU64,
}

/// Whether what is written is to be synced.
#[derive(Debug, Default, PartialEq)]
enum Sync {
    #[default]
    No,
    Wanted,
    UnderWay,
}

#[derive(Debug, Default)]
struct State {
    /// Until the thread is started.
    target: Option<Target>,
    lines: VecDeque<Vec<u8>>,
    line_bytes: usize,
    records: VecDeque<Record>,
    /// The thread has these.
    lines_in_hand: usize,
    records_in_hand: usize,
    lines_next: bool,
    sync: Sync,
    abandoned: bool,
}

impl State {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && self.lines_in_hand == 0 && self.has_no_records()
    }

    fn has_no_records(&self) -> bool {
        self.records.is_empty() && self.records_in_hand == 0
    }

    fn lines(&mut self) -> Work {
        let count = self.lines.len().min(BATCH_LINES);
        let lines: Vec<Vec<u8>> = self.lines.drain(..count).collect();
        self.line_bytes -= lines.iter().map(Vec::len).sum::<usize>();
        (self.lines_in_hand, self.lines_next) = (lines.len(), false);
        Work::Lines(lines)
    }

    fn records(&mut self) -> Work {
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.line.len();
            bytes <= BATCH_BYTES
        };
        let count = self.records.iter().take_while(fits).count().max(1);
        let records: Vec<Record> = self.records.drain(..count.min(self.records.len())).collect();
        (self.records_in_hand, self.lines_next) = (records.len(), true);
        Work::Records(records)
    }
}

impl Shared {
    pub(super) fn new(name: &'static str, target: Target) -> Self {
        Self {
            name,
            is_open: target.is_open(),
            file_id: target.file_id(),
            state: Mutex::new(State { target: Some(target), ..State::default() }),
            work: Condvar::new(),
            done: Condvar::new(),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn push_line(self: &Arc<Self>, mut line: Vec<u8>) {
        if line.len() > MAX_LINE_BYTES {
            line.truncate(MAX_LINE_BYTES - CUT.len());
            line.extend_from_slice(CUT);
        }
        let mut state = self.lock();
        let full =
            state.lines.len() >= MAX_LINES_WAITING || state.line_bytes + line.len() > MAX_LINES_WAITING_BYTES;
        if full || !self.start(&mut state) {
            // Without a thread, as much is written as is accepted at once.
            let target = state.target.as_mut().filter(|target| target.is_ready(Duration::ZERO));
            if target.is_none_or(|target| target.write(&line).is_err()) {
                self.drop_lines(1);
            }
            return;
        }
        state.line_bytes += line.len();
        state.lines.push_back(line);
        self.work.notify_one();
    }

    pub(super) fn push_record(self: &Arc<Self>, record: Record) {
        let mut state = self.lock();
        // Without a thread it waits, and the next one tries again to start it.
        self.start(&mut state);
        state.records.push_back(record);
        self.work.notify_one();
    }

    /// Starts the thread, the first time.
    fn start(self: &Arc<Self>, state: &mut State) -> bool {
        let Some(target) = state.target.take() else { return true };
        match thread::start(self.name, target, Arc::clone(self)) {
            Ok(()) => true,
            Err(target) => {
                state.target = Some(target);
                false
            }
        }
    }

    /// Waits for work; `None` when no output is left.
    pub(super) fn next_work(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if !state.records.is_empty() && (!state.lines_next || state.lines.is_empty()) {
                return Some(state.records());
            }
            if !state.lines.is_empty() {
                return Some(state.lines());
            }
            if state.sync == Sync::Wanted {
                state.sync = Sync::UnderWay;
                return Some(Work::Sync);
            }
            if state.abandoned {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The work was written, or dropped.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        (state.lines_in_hand, state.records_in_hand) = (0, 0);
        if state.sync == Sync::UnderWay {
            state.sync = Sync::No;
        }
        self.done.notify_all();
    }

    /// Waits a while before something is tried again; false if there is nothing to try it for.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let is_needed = |state: &mut State| !state.abandoned;
        let (state, _) =
            self.work.wait_timeout_while(state, pause, is_needed).unwrap_or_else(PoisonError::into_inner);
        !state.abandoned
    }

    /// Whether no lines wait, beside those that the thread has.
    pub(super) fn has_no_lines(&self) -> bool {
        self.lock().lines.is_empty()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// No more work will arrive, and nobody waits for what is left.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.work.notify_all();
    }

    pub(super) fn flush(&self, limit: Duration) {
        let state = self.lock();
        let wait = self.done.wait_timeout_while(state, limit, |state| !state.is_done());
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn close(&self, until: Instant) -> usize {
        let mut state = self.lock();
        if state.target.is_none() {
            state.sync = Sync::Wanted;
        }
        self.work.notify_all();
        while !(state.has_no_records() && state.sync == Sync::No) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        state.records.len() + state.records_in_hand
    }

    pub(super) fn drop_lines(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn wrote_records(&self, count: usize) {
        self.written.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn records_waiting(&self) -> usize {
        let state = self.lock();
        state.records.len() + state.records_in_hand
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

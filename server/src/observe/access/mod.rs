//! Records of access: who published, received, settled or changed what, and who was refused. They name ids; a record
//! never holds a payload, an attribute or a token.
//!
//! None is dropped while the process lives, whatever happens to the file, the pipe or the log that they are written to.
//! So a limited number of records may wait, and a change reserves a slot among them first: without a slot it is
//! refused. Settlements are always made; their answers wait for the slot. Only refusals are summed up, and never wait.
//! A process that is killed loses the records that wait.

mod record_slots;
mod record;
mod refusals;

use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use prometheus::{IntCounter, IntGauge};
pub(crate) use record::{Action, Caller, Ranges, Record, utc};
pub(crate) use record_slots::RecordSlot;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::interval,
};

use self::{record::Form, record_slots::RecordSlots, refusals::Refusals};
use super::Metrics;
use crate::{
    config::{AccessConfig, AccessSink, LogFormat, RecordedAccess},
    limits::MAX_ACCESS_RECORDS_WAITING,
    out::Out,
};

/// Why records of access cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file cannot be opened.
    #[error(
        "the access records cannot be written to {path}: {source}; correct access.file, or set access.records to \
         \"off\""
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A standard stream was closed when the process began, or cannot be written to.
    #[error(
        "the access records cannot be written to {0}, which is not open for writing: open it, name another place in \
         access.file, or set access.records to \"off\""
    )]
    Closed(&'static str),
}

/// Keeps the records that are configured.
#[derive(Debug)]
pub(crate) struct Access {
    recorded: RecordedAccess,
    form: Form,
    out: Out,
    slots: RecordSlots,
    refusals: Refusals,
    /// Settlements that are made, or about to be, and have no slot yet.
    settling: Semaphore,
    /// Records of finished actions that wait for a slot.
    unplaced: AtomicUsize,
    waits: IntCounter,
    blocked: IntGauge,
}

impl Access {
    /// As configured; a file is opened now. What goes to the log goes to `log`, in its format.
    ///
    /// # Errors
    /// When the file cannot be opened, or the stream that is named is closed.
    pub(super) fn open(
        config: &AccessConfig,
        format: LogFormat,
        log: &Out,
        metrics: &Metrics,
    ) -> Result<Self, AccessError> {
        let (out, form) = match &config.sink {
            // Nothing is written: nothing is opened.
            _ if config.records == RecordedAccess::Off => (log.clone(), Form::Json),
            // Nobody has asked for this one by name: without a stderr the records wait, as on a full disk.
            AccessSink::Log if format == LogFormat::Text => (log.clone(), Form::LogText),
            AccessSink::Log => (log.clone(), Form::LogJson),
            AccessSink::Stderr => (opened(log.clone(), "stderr")?, Form::Json),
            AccessSink::Stdout => (beside(opened(Out::stdout(), "stdout")?, log), Form::Json),
            AccessSink::File(path) => {
                let file =
                    Out::file(path).map_err(|source| AccessError::File { path: path.clone(), source })?;
                (file, Form::Json)
            }
        };
        Ok(Self {
            recorded: config.records,
            form,
            out,
            slots: RecordSlots::new(),
            refusals: Refusals::default(),
            settling: Semaphore::new(MAX_ACCESS_RECORDS_WAITING),
            unplaced: AtomicUsize::new(0),
            waits: metrics.own.access_waits.clone(),
            blocked: metrics.own.access_blocked.clone(),
        })
    }

    /// Whether refusals and changes are recorded.
    pub(crate) fn keeps_changes(&self) -> bool {
        self.recorded >= RecordedAccess::Changes
    }

    /// Whether every batch of messages is recorded.
    pub(crate) fn keeps_messages(&self) -> bool {
        self.recorded >= RecordedAccess::All
    }

    /// Reserves a slot for the record of an action. `None`: there was none in time, and the action must be refused.
    pub(crate) async fn reserve(&self) -> Option<RecordSlot> {
        match self.slots.at_once(1) {
            Some(slot) => Some(slot),
            None => {
                self.waits.inc();
                Box::pin(self.slots.in_time()).await
            }
        }
    }

    /// Reserves a slot at once, for a caller that has waited already.
    pub(crate) fn reserve_now(&self) -> Option<RecordSlot> {
        self.slots.at_once(1)
    }

    /// Slots for this many records of an action that may wait.
    pub(crate) async fn reserve_many(&self, count: u32) -> RecordSlot {
        match self.slots.at_once(count) {
            Some(slot) => slot,
            None => {
                self.waits.inc();
                Box::pin(self.slots.however_long(count)).await
            }
        }
    }

    /// Writes a record into its slot.
    pub(crate) fn put(&self, record: &Record<'_>, slot: RecordSlot) {
        self.out.record(record.line(self.form), Some(slot));
    }

    /// Writes several records into as many slots.
    pub(crate) fn put_all<'a>(&self, records: impl IntoIterator<Item = Record<'a>>, mut slots: RecordSlot) {
        for record in records {
            self.out.record(record.line(self.form), slots.split(1));
        }
    }

    /// Waits until settlements may be made: not while too many wait for slots already.
    pub(crate) async fn settling(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        if self.keeps_messages() { self.settling.acquire().await.ok() } else { None }
    }

    /// Writes the record of a finished action, as soon as there is a slot for it.
    pub(crate) async fn put_in_any_case(&self, record: Record<'_>) {
        let _unplaced = Unreserved::new(&self.unplaced);
        let slot = self.reserve_many(1).await;
        self.put(&record, slot);
    }

    /// Takes the record of a refusal, or counts it.
    pub(crate) fn refused(&self, record: Record<'_>) {
        if let Some((record, slot)) = self.refusals.record_refusal(record, || self.slots.at_once(1)) {
            self.put(&record, slot);
        }
    }

    /// Whether there have been no slots for a while: nothing is leased meanwhile.
    pub(crate) fn is_blocked(&self) -> bool {
        self.slots.is_blocked()
    }

    /// Whether there are no slots: at first, and after each change.
    pub(crate) fn blocked(&self) -> watch::Receiver<bool> {
        self.slots.changes()
    }

    /// Background work: watches the slots, and writes the sums of refusals, for as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut intervals = interval(refusals::INTERVAL);
        let rotating = async {
            loop {
                intervals.tick().await;
                for (record, slot) in self.refusals.rotate(|| self.slots.at_once(1)) {
                    self.put(&record, slot);
                }
            }
        };
        tokio::join!(rotating, self.slots.watch_for_slots(|| self.out.waiting()));
    }

    /// Brings figures up to date that are counted elsewhere.
    pub(super) fn read(&self, metrics: &Metrics) {
        let own = &metrics.own;
        super::raise(&own.access_records, self.out.written());
        super::raise(&own.access_failures, self.out.failures());
        own.access_waiting.set(super::metrics::clamp(self.out.waiting() as u64));
        self.blocked.set(i64::from(self.is_blocked()));
    }

    /// How long the last records are waited for: a closed stream never accepts them.
    fn last_moment(&self, until: Instant) -> Instant {
        if self.out.is_open() { until } else { Instant::now().min(until) }
    }

    /// Writes what waits, until `until` at the latest; how many records are lost. Blocks.
    pub(super) fn close(&self, until: Instant) -> usize {
        for (record, ()) in self.refusals.rotate(|| Some(())) {
            self.out.record(record.line(self.form), None);
        }
        let lost = self.out.close(self.last_moment(until)) + self.unplaced.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(records = lost, "the last access records are lost: what they go to takes none");
        }
        lost
    }
}

fn opened(out: Out, name: &'static str) -> Result<Out, AccessError> {
    if out.is_open() { Ok(out) } else { Err(AccessError::Closed(name)) }
}

/// If both are written to one file, one thread writes both, or a line of the log could tear a long record.
fn beside(out: Out, log: &Out) -> Out {
    if out.is_same_file(log) { log.clone() } else { out }
}

/// Counts a record that waits for a slot.
struct Unreserved<'a>(&'a AtomicUsize);

impl<'a> Unreserved<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Unreserved<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

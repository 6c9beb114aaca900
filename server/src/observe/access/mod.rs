//! Records of access: who published, was delivered, settled or changed what, and who was refused. By ids; a record
//! never holds a payload, an attribute or a token.
//!
//! None is dropped while the process lives, whatever becomes of the file, the pipe or the log that they go to. So there
//! is a bound to how many wait, and whoever changes something takes a place among them first: without one, nothing is
//! done. What is done in any case (a consumer's settlements) waits with its answer. Only refusals are summed up, and
//! never wait. A process that is killed loses the records that wait.

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

/// Why records of access cannot be kept.
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
    /// Settlements that are made, or about to be, and have no place yet.
    settling: Semaphore,
    /// Records of what is done that wait for a place.
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

    /// A place for the record of something that is about to be done; `None`: there was none in time, and it must not be
    /// done.
    pub(crate) async fn reserve(&self) -> Option<RecordSlot> {
        match self.slots.at_once(1) {
            Some(slot) => Some(slot),
            None => {
                self.waits.inc();
                Box::pin(self.slots.in_time()).await
            }
        }
    }

    /// The same for who has waited already.
    pub(crate) fn reserve_now(&self) -> Option<RecordSlot> {
        self.slots.at_once(1)
    }

    /// RecordSlots for so many records of what may wait.
    pub(crate) async fn reserve_many(&self, count: u32) -> RecordSlot {
        match self.slots.at_once(count) {
            Some(slot) => slot,
            None => {
                self.waits.inc();
                Box::pin(self.slots.however_long(count)).await
            }
        }
    }

    /// Takes a record into its place.
    pub(crate) fn put(&self, record: &Record<'_>, slot: RecordSlot) {
        self.out.record(record.line(self.form), Some(slot));
    }

    /// Takes several records into a place for so many, each into its own.
    pub(crate) fn put_all<'a>(&self, records: impl IntoIterator<Item = Record<'a>>, mut slots: RecordSlot) {
        for record in records {
            self.out.record(record.line(self.form), slots.split(1));
        }
    }

    /// Waits until settlements may be made: not while so many wait for places already.
    pub(crate) async fn settling(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        if self.keeps_messages() { self.settling.acquire().await.ok() } else { None }
    }

    /// Takes the record of what is done, as soon as there is a place for it.
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

    /// Whether there have been no places for a while: nothing is to be leased meanwhile.
    pub(crate) fn is_blocked(&self) -> bool {
        self.slots.is_blocked()
    }

    /// Whether there are no places: at first, and after each change.
    pub(crate) fn blocked(&self) -> watch::Receiver<bool> {
        self.slots.changes()
    }

    /// What has to be done all the time: looks after places and sums of refusals for as long as it is polled.
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

    /// Until when the last records are waited for: nothing ever takes them where a stream is closed.
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

/// Where both go to one place, one thread writes both, or a long record could be torn by a line of the log.
fn beside(out: Out, log: &Out) -> Out {
    if out.is_same_file(log) { log.clone() } else { out }
}

/// Counts a record that waits for a place.
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

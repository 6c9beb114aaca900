//! What operators see of a server: probes, metrics, records of access, spans.
//!
//! There are no globals: one [`Observer`] for each server is passed to the modules. Nothing here decides about a
//! message or sees a payload.

mod metrics;
mod process;
mod readiness;
mod sources;
pub mod table;

mod access;
mod listener;
mod telemetry;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use access::AccessError;
pub(crate) use access::{Access, Action, Caller, Ranges, Record, RecordSlot, utc};
pub use listener::{Management, ManagementError};
pub use metrics::Metrics;
pub(crate) use metrics::observe;
use metrics::raise;
pub use readiness::{Phase, Readiness};
pub(crate) use sources::Sources;
pub(crate) use telemetry::{CallSpan, TRACEPARENT, Telemetry, Waited, trace_id};

use crate::{config::Config, log::LogWatch, names::TenantName, out::Out};

/// How long a process whose disk failed waits at its end until its records are written, and then its log.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The observer of one server.
#[derive(Debug)]
pub struct Observer {
    /// Its figures.
    pub metrics: Metrics,
    /// Whether it is up and ready.
    pub readiness: Readiness,
    pub(crate) access: Access,
    pub(crate) telemetry: Option<Telemetry>,
    log: Out,
    sources: sources::OpenComponents,
}

/// Why a server cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The table of metrics is wrong; a test would have failed.
    #[error("the metrics cannot be made: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The sink of the access records.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The exporter of spans.
    #[error("spans cannot be exported: {0}; correct [telemetry] in the configuration")]
    Telemetry(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The management listener.
    #[error(transparent)]
    Management(#[from] ManagementError),
}

impl Observer {
    /// As configured; nothing listens yet. The program's log goes to `log`.
    ///
    /// # Errors
    /// See [`ObserveError`].
    pub fn new(config: &Config, log: Out) -> Result<Arc<Self>, ObserveError> {
        let tenants: Vec<TenantName> = if config.observe.tenant_metrics {
            config.tenants.iter().map(|tenant| tenant.name.clone()).collect()
        } else {
            Vec::new()
        };
        let metrics = Metrics::new(&tenants)?;
        let format = config.observe.log.format;
        let access = Access::open(&config.observe.access, format, &log, &metrics)?;
        let telemetry = config.observe.telemetry.as_ref();
        let telemetry = telemetry.map(|telemetry| Telemetry::start(telemetry, &metrics)).transpose()?;
        Ok(Arc::new(Self::with(metrics, access, telemetry, log)))
    }

    fn with(metrics: Metrics, access: Access, telemetry: Option<Telemetry>, log: Out) -> Self {
        let (readiness, sources) = (Readiness::default(), sources::OpenComponents::default());
        Self { metrics, readiness, access, telemetry, log, sources }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        let metrics = Metrics::new(&[]).unwrap();
        let config = crate::config::ObserveConfig::default();
        let log = Out::stderr();
        let access = Access::open(&config.access, config.log.format, &log, &metrics).unwrap();
        Arc::new(Self::with(metrics, access, None, log))
    }

    /// The server enters this phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.readiness.enter(phase);
    }

    /// The node has this many shards.
    pub(crate) fn has_shards(&self, count: u16) {
        self.metrics.shard.shards.set(count.into());
        self.readiness.shards(count.into());
    }

    /// A flush of the store succeeded in this time, or failed.
    pub(crate) fn flushed(&self, duration: Option<Duration>) {
        let store = &self.metrics.store;
        store.flushes.with_label_values(&[if duration.is_some() { "ok" } else { "failed" }]).inc();
        if let Some(duration) = duration {
            observe(&store.flush, duration);
        }
    }

    /// From now on figures are also read from these.
    pub(crate) fn watch(&self, sources: Sources) {
        self.sources.put(Some(sources));
    }

    /// Stops reading the components, which are about to close.
    pub(crate) fn close_sources(&self) {
        self.sources.put(None);
    }

    /// Writes the last records of access until then, and exports the last spans, for a bounded time; how many records
    /// are lost. Blocks; the runtime must still run.
    pub(crate) fn close(&self, until: Instant) -> usize {
        let lost = self.access.close(until);
        if let Some(telemetry) = &self.telemetry {
            telemetry.close();
        }
        lost
    }

    /// Ends the process, because its disk failed: a little time is left for what was said of it.
    pub(crate) fn die(&self) -> ! {
        self.access.close(Instant::now() + LAST_WORDS);
        self.log.flush(LAST_WORDS);
        std::process::exit(crate::EXIT_IO)
    }

    /// All metrics as they are now, in Prometheus' text format. Reads files and asks the store: not for the network's
    /// threads.
    fn scrape(&self) -> Result<String, prometheus::Error> {
        self.sources.read(self);
        process::read(&self.metrics.process);
        raise(&self.metrics.own.lines_dropped, self.log.dropped());
        self.access.read(&self.metrics);
        self.metrics.text()
    }

    /// The text of a probe's answer.
    fn describe(&self) -> String {
        self.readiness.describe(self.sources.warnings())
    }
}

impl LogWatch for Observer {
    fn synced(&self, entries: usize, bytes: u64, write: Duration, sync: Duration) {
        let log = &self.metrics.log;
        observe(&log.write, write);
        observe(&log.sync, sync);
        log.bytes.inc_by(bytes);
        if entries > 0 {
            log.entries.observe(entries as f64);
        }
    }
}

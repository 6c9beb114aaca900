//! The metrics of one server: all of the table, in a registry of its own.
//!
//! Events of a batch are counted with an atomic or two; values that can be read at any time are read at the scrape
//! (`sources`).

mod make;

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use prometheus::{
    Counter, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use self::make::Make;
use super::table;
use crate::{account::Counters, names::TenantName, store::StoreWritten};

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    pub(crate) door: DoorMetrics,
    pub(crate) held: HeldMetrics,
    pub(crate) rpc: RpcMetrics,
    pub(crate) messages: MessageMetrics,
    pub(crate) shard: ShardMetrics,
    pub(crate) log: LogMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) own: OwnMetrics,
    pub(super) process: ProcessMetrics,
    reloads: IntCounterVec,
    certificate: IntGauge,
    tenants: HashMap<TenantName, TenantMetrics>,
}

/// Connections.
pub(crate) struct DoorMetrics {
    pub(crate) open: IntGauge,
    pub(crate) refused: IntCounterVec,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) flooded: IntCounterVec,
    pub(crate) strangers: IntGauge,
    pub(crate) throttled: IntCounterVec,
    pub(crate) left_out: IntCounterVec,
}

/// Calls.
pub(crate) struct RpcMetrics {
    pub(crate) calls: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) streams: IntGaugeVec,
    pub(crate) refusals: IntCounterVec,
    pub(crate) auth_refusals: IntCounterVec,
    pub(crate) calls_limited: IntCounter,
    pub(super) token_cache: IntCounterVec,
    pub(super) grants_without_effect: IntCounterVec,
}

/// Messages, as handlers see them.
pub(crate) struct MessageMetrics {
    pub(crate) published: IntCounter,
    pub(crate) published_bytes: IntCounter,
    pub(crate) duplicates: IntCounter,
    pub(crate) rejected: IntCounterVec,
    pub(crate) batch: Histogram,
    pub(crate) delivered: IntCounter,
    pub(crate) delivered_bytes: IntCounter,
    pub(crate) redelivered: IntCounter,
    pub(crate) resumed: IntCounter,
    pub(crate) waiting: Histogram,
    pub(crate) settled: IntCounterVec,
    pub(crate) settle_refused: IntCounterVec,
}

/// Shards: batches, and what becomes of messages without a caller.
pub(crate) struct ShardMetrics {
    pub(crate) shards: IntGauge,
    pub(crate) halted: IntGaugeVec,
    pub(crate) set_aside: IntGauge,
    pub(crate) clock_ahead: Gauge,
    pub(crate) expiry_halted: IntGauge,
    pub(crate) commit: Histogram,
    pub(crate) commands: Histogram,
    pub(crate) apply: Histogram,
    pub(crate) expired: IntCounter,
    pub(crate) moved: IntCounter,
    pub(crate) parked: IntCounter,
    pub(crate) tombstones: IntCounter,
    pub(crate) blocks_cached: IntCounter,
    pub(crate) blocks_read: IntCounter,
    pub(crate) replayed: IntGauge,
    pub(crate) start: Gauge,
}

/// The log.
pub(crate) struct LogMetrics {
    pub(crate) write: Histogram,
    pub(crate) sync: Histogram,
    pub(crate) entries: Histogram,
    pub(crate) bytes: IntCounter,
    pub(super) publishes_waiting: IntGauge,
    pub(super) publish_bytes: IntGauge,
    pub(super) queued: IntGauge,
    pub(super) queued_bytes: IntGauge,
    pub(super) segments: IntGauge,
    pub(super) since_trim: IntGauge,
}

/// The store, the bodies in memory, the disk.
pub(crate) struct StoreMetrics {
    pub(crate) flushes: IntCounterVec,
    pub(crate) flush: Histogram,
    pub(super) cache: IntGauge,
    pub(super) memtables: IntGauge,
    pub(super) readers: IntGauge,
    pub(super) pending: IntGauge,
    pub(super) live: IntGauge,
    pub(super) files: IntGauge,
    pub(super) errors: IntCounter,
    pub(super) stopped: IntGauge,
    pub(super) batches: IntCounter,
    pub(super) tables: IntCounterVec,
    pub(super) stalled: Counter,
    pub(super) bodies: IntCounterVec,
    pub(super) bodies_bytes: IntGauge,
    pub(super) disk_free: IntGauge,
    pub(super) disk_full: IntGauge,
}

/// The bytes that connections hold.
pub(crate) struct HeldMetrics {
    pub(super) bytes: IntGaugeVec,
    pub(super) waited: IntCounter,
    pub(super) refused: IntCounter,
    pub(super) unread: IntCounter,
}

impl HeldMetrics {
    /// The counters of the accounts.
    pub(crate) fn counters(&self) -> Counters {
        let (waited, refused, unread) = (self.waited.clone(), self.refused.clone(), self.unread.clone());
        Counters { waited, refused, unread }
    }
}

/// Metrics of the observer itself.
pub(crate) struct OwnMetrics {
    pub(super) state: IntGaugeVec,
    pub(in crate::observe) access_records: IntCounter,
    pub(in crate::observe) access_waits: IntCounter,
    pub(in crate::observe) access_failures: IntCounter,
    pub(in crate::observe) access_waiting: IntGauge,
    pub(in crate::observe) access_blocked: IntGauge,
    pub(crate) access_released: IntCounter,
    pub(in crate::observe) lines_dropped: IntCounter,
    pub(super) spans: IntCounterVec,
    pub(super) requests: IntCounterVec,
    pub(super) closed: IntCounterVec,
}

/// The process.
pub(super) struct ProcessMetrics {
    pub(super) cpu: Counter,
    pub(super) resident: IntGauge,
    pub(super) fds: IntGauge,
    pub(super) max_fds: IntGauge,
    pub(super) threads: IntGauge,
    pub(super) started: Gauge,
}

/// One tenant's share.
pub(crate) struct TenantMetrics {
    pub(crate) published: IntCounter,
    pub(crate) published_bytes: IntCounter,
    pub(crate) delivered: IntCounter,
    pub(crate) settled: IntCounter,
}

impl Metrics {
    /// All metrics at zero; with series of their own for these tenants.
    ///
    /// # Errors
    /// When the table cannot be registered: two metrics of one name, or a name that is none. A test sees to it.
    pub fn new(tenants: &[TenantName]) -> Result<Self, prometheus::Error> {
        let make = Make(Registry::new());
        make.build_info()?;
        let own = make.own()?;
        Ok(Self {
            door: make.door()?,
            held: make.held()?,
            rpc: make.rpc()?,
            messages: make.messages()?,
            shard: make.shard()?,
            log: make.log()?,
            store: make.store()?,
            own,
            process: make.process()?,
            reloads: make.counters(&table::RELOADS)?,
            certificate: make.gauge(&table::CERTIFICATE)?,
            tenants: make.tenants(tenants)?,
            registry: make.0,
        })
    }

    /// A file that was changed (`what`: certificate, authorities or keys) is in force, or was refused.
    pub fn reloads(&self, what: &'static str, ok: bool) {
        self.reloads.with_label_values(&[what, if ok { "ok" } else { "failed" }]).inc();
    }

    /// The server's certificate ends then.
    pub fn certificate_not_after(&self, not_after: SystemTime) {
        let since = not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.certificate.set(clamp(since.as_secs()));
    }

    pub(crate) fn tenant(&self, name: &TenantName) -> Option<&TenantMetrics> {
        self.tenants.get(name)
    }

    /// In Prometheus' text format.
    pub(super) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl StoreMetrics {
    pub(super) fn wrote(&self, written: &StoreWritten) {
        raise(&self.batches, written.batch_bytes);
        for (by, total) in [
            ("flush", written.flushed_bytes),
            ("compaction_read", written.compaction_read_bytes),
            ("compaction_write", written.compaction_written_bytes),
        ] {
            raise(&self.tables.with_label_values(&[by]), total);
        }
        let stalled = Duration::from_micros(written.stalled_us).as_secs_f64();
        self.stalled.inc_by((stalled - self.stalled.get()).max(0.0));
    }
}

/// As seconds.
pub(crate) fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}

/// A gauge's value.
pub(super) fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Brings a counter up to a total that is counted elsewhere.
pub(in crate::observe) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests;

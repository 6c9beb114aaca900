//! The figures of one server: every metric of the table, in a registry of its own.
//!
//! What happens per batch is counted with an atomic or two; what can be asked at any time is read at the scrape
//! (`sources`).

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};

use super::table::{self, Definition, Kind};
use crate::{names::TenantName, store::StoreWritten};

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    pub(crate) door: DoorMetrics,
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
}

/// Calls.
pub(crate) struct RpcMetrics {
    pub(crate) calls: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) streams: IntGaugeVec,
    pub(crate) refusals: IntCounterVec,
    pub(crate) auth_refusals: IntCounterVec,
    pub(super) token_cache: IntCounterVec,
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
    pub(crate) halted: IntGauge,
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

/// What observing itself does.
pub(crate) struct OwnMetrics {
    pub(super) state: IntGaugeVec,
    pub(super) access_records: IntCounter,
    pub(super) access_waits: IntCounter,
    pub(super) access_failures: IntCounter,
    pub(super) spans: IntCounterVec,
    pub(super) requests: IntCounterVec,
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
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Makes metrics of definitions, and registers them.
struct Make(Registry);

impl Make {
    fn registered<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, of: &Definition) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::with_opts(opts(of))?)
    }

    /// A counter of seconds.
    fn elapsed(&self, of: &Definition) -> Result<Counter, prometheus::Error> {
        self.registered(Counter::with_opts(opts(of))?)
    }

    fn counters(&self, of: &Definition) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(opts(of), of.labels)?)
    }

    fn gauge(&self, of: &Definition) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::with_opts(opts(of))?)
    }

    fn gauges(&self, of: &Definition) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(opts(of), of.labels)?)
    }

    fn seconds(&self, of: &Definition) -> Result<Gauge, prometheus::Error> {
        self.registered(Gauge::with_opts(opts(of))?)
    }

    fn histogram(&self, of: &Definition) -> Result<Histogram, prometheus::Error> {
        self.registered(Histogram::with_opts(histogram(of))?)
    }

    fn build_info(&self) -> Result<(), prometheus::Error> {
        self.gauges(&table::BUILD)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(())
    }

    fn door(&self) -> Result<DoorMetrics, prometheus::Error> {
        Ok(DoorMetrics {
            open: self.gauge(&table::CONNECTIONS)?,
            refused: self.counters(&table::CONNECTIONS_REFUSED)?,
            handshakes: self.counters(&table::HANDSHAKES)?,
        })
    }

    fn rpc(&self) -> Result<RpcMetrics, prometheus::Error> {
        let duration = HistogramVec::new(histogram(&table::RPC_DURATION), table::RPC_DURATION.labels)?;
        Ok(RpcMetrics {
            calls: self.counters(&table::RPCS)?,
            duration: self.registered(duration)?,
            streams: self.gauges(&table::STREAMS)?,
            refusals: self.counters(&table::REFUSALS)?,
            auth_refusals: self.counters(&table::AUTH_REFUSALS)?,
            token_cache: self.counters(&table::TOKEN_CACHE)?,
        })
    }

    fn messages(&self) -> Result<MessageMetrics, prometheus::Error> {
        Ok(MessageMetrics {
            published: self.counter(&table::PUBLISHED)?,
            published_bytes: self.counter(&table::PUBLISHED_BYTES)?,
            duplicates: self.counter(&table::DUPLICATES)?,
            rejected: self.counters(&table::REJECTED)?,
            batch: self.histogram(&table::PUBLISH_BATCH)?,
            delivered: self.counter(&table::DELIVERED)?,
            delivered_bytes: self.counter(&table::DELIVERED_BYTES)?,
            redelivered: self.counter(&table::REDELIVERED)?,
            resumed: self.counter(&table::RESUMED)?,
            waiting: self.histogram(&table::WAITING)?,
            settled: self.counters(&table::SETTLED)?,
            settle_refused: self.counters(&table::SETTLE_REFUSED)?,
        })
    }

    fn shard(&self) -> Result<ShardMetrics, prometheus::Error> {
        let dead = self.counters(&table::DEAD)?;
        let blocks = self.counters(&table::STORE_HITS)?;
        Ok(ShardMetrics {
            shards: self.gauge(&table::SHARDS)?,
            halted: self.gauge(&table::SHARDS_HALTED)?,
            expiry_halted: self.gauge(&table::EXPIRY_HALTED)?,
            commit: self.histogram(&table::COMMIT)?,
            commands: self.histogram(&table::COMMAND_BATCH)?,
            apply: self.histogram(&table::APPLY)?,
            expired: self.counter(&table::EXPIRED)?,
            moved: dead.with_label_values(&["moved"]),
            parked: dead.with_label_values(&["parked"]),
            tombstones: self.counter(&table::STORE_TOMBSTONES)?,
            blocks_cached: blocks.with_label_values(&["cache"]),
            blocks_read: blocks.with_label_values(&["disk"]),
            replayed: self.gauge(&table::REPLAYED)?,
            start: self.seconds(&table::START_DURATION)?,
        })
    }

    fn log(&self) -> Result<LogMetrics, prometheus::Error> {
        Ok(LogMetrics {
            write: self.histogram(&table::LOG_WRITE)?,
            sync: self.histogram(&table::LOG_SYNC)?,
            entries: self.histogram(&table::LOG_GROUP)?,
            bytes: self.counter(&table::LOG_BYTES)?,
            queued: self.gauge(&table::LOG_QUEUED)?,
            queued_bytes: self.gauge(&table::LOG_QUEUED_BYTES)?,
            segments: self.gauge(&table::LOG_SEGMENTS)?,
            since_trim: self.gauge(&table::LOG_UNTRIMMED)?,
        })
    }

    fn store(&self) -> Result<StoreMetrics, prometheus::Error> {
        Ok(StoreMetrics {
            flushes: self.counters(&table::FLUSHES)?,
            flush: self.histogram(&table::FLUSH_DURATION)?,
            cache: self.gauge(&table::STORE_CACHE)?,
            memtables: self.gauge(&table::STORE_MEMTABLES)?,
            readers: self.gauge(&table::STORE_READERS)?,
            pending: self.gauge(&table::STORE_PENDING)?,
            live: self.gauge(&table::STORE_LIVE)?,
            files: self.gauge(&table::STORE_FILES)?,
            errors: self.counter(&table::STORE_ERRORS)?,
            stopped: self.gauge(&table::STORE_STOPPED)?,
            batches: self.counter(&table::STORE_BATCHES)?,
            tables: self.counters(&table::STORE_WRITTEN)?,
            stalled: self.elapsed(&table::STORE_STALLED)?,
            bodies: self.counters(&table::BODIES)?,
            bodies_bytes: self.gauge(&table::BODIES_BYTES)?,
            disk_free: self.gauge(&table::DISK_FREE)?,
            disk_full: self.gauge(&table::DISK_FULL)?,
        })
    }

    fn own(&self) -> Result<OwnMetrics, prometheus::Error> {
        Ok(OwnMetrics {
            state: self.gauges(&table::STATE)?,
            access_records: self.counter(&table::ACCESS_RECORDS)?,
            access_waits: self.counter(&table::ACCESS_WAITS)?,
            access_failures: self.counter(&table::ACCESS_FAILURES)?,
            spans: self.counters(&table::SPANS)?,
            requests: self.counters(&table::SCRAPES)?,
        })
    }

    fn process(&self) -> Result<ProcessMetrics, prometheus::Error> {
        Ok(ProcessMetrics {
            cpu: self.elapsed(&table::CPU)?,
            resident: self.gauge(&table::RESIDENT)?,
            fds: self.gauge(&table::FDS)?,
            max_fds: self.gauge(&table::MAX_FDS)?,
            threads: self.gauge(&table::THREADS)?,
            started: self.seconds(&table::STARTED)?,
        })
    }

    fn tenants(&self, names: &[TenantName]) -> Result<HashMap<TenantName, TenantMetrics>, prometheus::Error> {
        let published = self.counters(&table::TENANT_PUBLISHED)?;
        let published_bytes = self.counters(&table::TENANT_PUBLISHED_BYTES)?;
        let delivered = self.counters(&table::TENANT_DELIVERED)?;
        let settled = self.counters(&table::TENANT_SETTLED)?;
        let metrics = |name: &TenantName| {
            let label = &[name.as_str()];
            TenantMetrics {
                published: published.with_label_values(label),
                published_bytes: published_bytes.with_label_values(label),
                delivered: delivered.with_label_values(label),
                settled: settled.with_label_values(label),
            }
        };
        Ok(names.iter().map(|name| (name.clone(), metrics(name))).collect())
    }
}

fn opts(of: &Definition) -> Opts {
    Opts::new(of.name, of.help)
}

fn histogram(of: &Definition) -> HistogramOpts {
    let buckets = match of.kind {
        Kind::Histogram(buckets) => buckets.to_vec(),
        Kind::Counter | Kind::Gauge => Vec::new(),
    };
    HistogramOpts::new(of.name, of.help).buckets(buckets)
}

#[cfg(test)]
mod tests;

//! Makes the metrics: one function for each group.

use std::collections::HashMap;

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, core::Collector,
};

use super::{
    DoorMetrics, HeldMetrics, LogMetrics, MessageMetrics, OwnMetrics, ProcessMetrics, RpcMetrics,
    ShardMetrics, StoreMetrics, TenantMetrics,
};
use crate::{
    names::TenantName,
    observe::table::{self, Definition, Kind},
};

/// Makes metrics of definitions, and registers them.
pub(super) struct Make(pub(super) Registry);

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

    pub(super) fn counters(&self, of: &Definition) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(opts(of), of.labels)?)
    }

    pub(super) fn gauge(&self, of: &Definition) -> Result<IntGauge, prometheus::Error> {
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

    pub(super) fn build_info(&self) -> Result<(), prometheus::Error> {
        self.gauges(&table::BUILD)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(())
    }

    pub(super) fn door(&self) -> Result<DoorMetrics, prometheus::Error> {
        Ok(DoorMetrics {
            open: self.gauge(&table::CONNECTIONS)?,
            refused: self.counters(&table::CONNECTIONS_REFUSED)?,
            handshakes: self.counters(&table::HANDSHAKES)?,
            flooded: self.counters(&table::CONNECTIONS_FLOODED)?,
            strangers: self.gauge(&table::CONNECTIONS_STRANGERS)?,
            throttled: self.counters(&table::THROTTLED_CALLS)?,
            left_out: self.counters(&table::WARNINGS_LEFT_OUT)?,
        })
    }

    pub(super) fn rpc(&self) -> Result<RpcMetrics, prometheus::Error> {
        let duration = HistogramVec::new(histogram(&table::RPC_DURATION), table::RPC_DURATION.labels)?;
        Ok(RpcMetrics {
            calls: self.counters(&table::RPCS)?,
            duration: self.registered(duration)?,
            streams: self.gauges(&table::STREAMS)?,
            refusals: self.counters(&table::REFUSALS)?,
            auth_refusals: self.counters(&table::AUTH_REFUSALS)?,
            calls_limited: self.counter(&table::CALLS_LIMITED)?,
            token_cache: self.counters(&table::TOKEN_CACHE)?,
            grants_without_effect: self.counters(&table::GRANTS_WITHOUT_EFFECT)?,
        })
    }

    pub(super) fn messages(&self) -> Result<MessageMetrics, prometheus::Error> {
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

    pub(super) fn shard(&self) -> Result<ShardMetrics, prometheus::Error> {
        let dead = self.counters(&table::DEAD)?;
        let blocks = self.counters(&table::STORE_HITS)?;
        Ok(ShardMetrics {
            shards: self.gauge(&table::SHARDS)?,
            halted: self.gauges(&table::SHARDS_HALTED)?,
            set_aside: self.gauge(&table::SET_ASIDE)?,
            clock_ahead: self.seconds(&table::CLOCK_AHEAD)?,
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

    pub(super) fn log(&self) -> Result<LogMetrics, prometheus::Error> {
        Ok(LogMetrics {
            write: self.histogram(&table::LOG_WRITE)?,
            sync: self.histogram(&table::LOG_SYNC)?,
            entries: self.histogram(&table::LOG_GROUP)?,
            bytes: self.counter(&table::LOG_BYTES)?,
            publishes_waiting: self.gauge(&table::GATE_WAITING)?,
            publish_bytes: self.gauge(&table::GATE_BYTES)?,
            queued: self.gauge(&table::LOG_QUEUED)?,
            queued_bytes: self.gauge(&table::LOG_QUEUED_BYTES)?,
            segments: self.gauge(&table::LOG_SEGMENTS)?,
            since_trim: self.gauge(&table::LOG_UNTRIMMED)?,
        })
    }

    pub(super) fn store(&self) -> Result<StoreMetrics, prometheus::Error> {
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

    pub(super) fn held(&self) -> Result<HeldMetrics, prometheus::Error> {
        Ok(HeldMetrics {
            bytes: self.gauges(&table::HELD)?,
            waited: self.counter(&table::HELD_WAITED)?,
            refused: self.counter(&table::HELD_REFUSED)?,
            unread: self.counter(&table::UNREAD)?,
        })
    }

    pub(super) fn own(&self) -> Result<OwnMetrics, prometheus::Error> {
        Ok(OwnMetrics {
            state: self.gauges(&table::STATE)?,
            access_records: self.counter(&table::ACCESS_RECORDS)?,
            access_waits: self.counter(&table::ACCESS_WAITS)?,
            access_failures: self.counter(&table::ACCESS_FAILURES)?,
            access_waiting: self.gauge(&table::ACCESS_WAITING)?,
            access_blocked: self.gauge(&table::ACCESS_BLOCKED)?,
            access_released: self.counter(&table::ACCESS_RELEASED)?,
            lines_dropped: self.counter(&table::LINES_DROPPED)?,
            spans: self.counters(&table::SPANS)?,
            requests: self.counters(&table::SCRAPES)?,
            closed: self.counters(&table::MANAGEMENT_CLOSED)?,
        })
    }

    pub(super) fn process(&self) -> Result<ProcessMetrics, prometheus::Error> {
        Ok(ProcessMetrics {
            cpu: self.elapsed(&table::CPU)?,
            resident: self.gauge(&table::RESIDENT)?,
            fds: self.gauge(&table::FDS)?,
            max_fds: self.gauge(&table::MAX_FDS)?,
            threads: self.gauge(&table::THREADS)?,
            started: self.seconds(&table::STARTED)?,
        })
    }

    pub(super) fn tenants(
        &self,
        names: &[TenantName],
    ) -> Result<HashMap<TenantName, TenantMetrics>, prometheus::Error> {
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

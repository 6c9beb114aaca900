//! Metrics that need no counting: they are read from the components at a scrape.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Observer, Phase,
    metrics::{clamp, raise},
    readiness::{Readiness, Warnings},
};
use crate::{
    account::Accounts, bodies::BodyCache, clock::Clock, disk_space::DiskGuard, fair_gate::FairGate,
    identity::TokenVerifier, log::Log, store::Store,
};

/// The components that are read.
pub(crate) struct Sources {
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) bodies: Arc<BodyCache>,
    pub(crate) disk: Arc<DiskGuard>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) tokens: Arc<TokenVerifier>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) fair_gate: Arc<FairGate>,
}

/// The components while they are open.
#[derive(Default)]
pub(super) struct OpenComponents(Mutex<Option<Sources>>);

impl OpenComponents {
    pub(super) fn put(&self, sources: Option<Sources>) {
        *self.lock() = sources;
    }

    /// Reads them, one scrape at a time; the components are not closed meanwhile.
    pub(super) fn read(&self, observer: &Observer) {
        let guard = self.lock();
        let own = &observer.metrics.own;
        for phase in Phase::ALL {
            let is = phase == observer.readiness.phase();
            own.state.with_label_values(&[phase.as_str()]).set(i64::from(is));
        }
        let halted = observer.readiness.halted_shards();
        for reason in Readiness::HALT_REASONS {
            let count = halted.get(reason).copied().unwrap_or_default();
            observer.metrics.shard.halted.with_label_values(&[reason]).set(clamp(count as u64));
        }
        if let Some(sources) = &*guard {
            sources.read(observer);
        }
    }

    /// The warnings of a probe.
    pub(super) fn warnings(&self) -> Warnings {
        // A scrape may be under way, and a probe must not wait for it.
        let Ok(guard) = self.0.try_lock() else { return Warnings::default() };
        guard.as_ref().map_or_else(Warnings::default, |components| Warnings {
            disk_full: components.disk.is_full(),
            expiry_halted: components.clock.expiry_halted(),
            clock_ahead_ms: components.clock.wall_ahead_ms(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Sources>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for OpenComponents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenComponents")
    }
}

impl Sources {
    fn read(&self, observer: &Observer) {
        let metrics = &observer.metrics;
        metrics.shard.expiry_halted.set(i64::from(self.clock.expiry_halted()));
        metrics.shard.clock_ahead.set(self.clock.wall_ahead_ms() as f64 / 1_000.0);

        let (requests, deliveries) = self.accounts.held();
        let retained = self.accounts.retained();
        for (what, bytes) in [("requests", requests), ("deliveries", deliveries), ("kept", retained)] {
            metrics.held.bytes.with_label_values(&[what]).set(clamp(bytes));
        }

        let (waiting, inside) = self.fair_gate.figures();
        metrics.log.publishes_waiting.set(clamp(waiting as u64));
        metrics.log.publish_bytes.set(clamp(inside as u64));
        let log = self.log.state();
        metrics.log.queued.set(clamp(log.queued_entries as u64));
        metrics.log.queued_bytes.set(clamp(log.queued_bytes as u64));
        metrics.log.segments.set(clamp(log.segments as u64));
        metrics.log.since_trim.set(clamp(self.log.bytes_since_trim()));

        // If RocksDB does not answer now, it answers at the next scrape.
        if let Ok(health) = self.store.health() {
            metrics.store.cache.set(clamp(health.cache_bytes));
            metrics.store.memtables.set(clamp(health.memtable_bytes));
            metrics.store.readers.set(clamp(health.reader_bytes));
            metrics.store.pending.set(clamp(health.pending_compaction_bytes));
            metrics.store.live.set(clamp(health.live_data_bytes));
            metrics.store.files.set(clamp(health.file_bytes));
            raise(&metrics.store.errors, health.background_errors);
            metrics.store.stopped.set(i64::from(health.write_stopped));
            metrics.store.wrote(&health.written);
        }
        let bodies = self.bodies.figures();
        raise(&metrics.store.bodies.with_label_values(&["hit"]), bodies.hits);
        raise(&metrics.store.bodies.with_label_values(&["miss"]), bodies.misses);
        metrics.store.bodies_bytes.set(clamp(bodies.bytes as u64));

        if let Ok(free) = self.store.free_bytes() {
            metrics.store.disk_free.set(clamp(free));
        }
        metrics.store.disk_full.set(i64::from(self.disk.is_full()));

        let (hits, misses) = self.tokens.cache_lookups();
        raise(&metrics.rpc.token_cache.with_label_values(&["hit"]), hits);
        raise(&metrics.rpc.token_cache.with_label_values(&["miss"]), misses);
        for (action, count) in self.tokens.grants_without_effect() {
            raise(&metrics.rpc.grants_without_effect.with_label_values(&[action]), count);
        }
    }
}

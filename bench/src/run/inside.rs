//! The part `inside`: what a message costs in Posthouse. The server's metrics, with RocksDB's counters among them, and
//! the allocations of the server and of the load generator, which contains the client crate.

use std::process::Command;

use anyhow::Result;
use posthouse_tests::harness::{binaries, probe::value, site::Site};
use tempfile::TempDir;

use super::Run;
use crate::{
    load::{Load, Measured, both, consume, publish},
    measure::allocations::{self, PRINT_STATS},
    plan::{Best, PAYLOAD_BYTES},
    row::Row,
    system::{Server as _, posthouse::Running},
};

const OF_SERVER: &str = "allocations of the server";
const OF_CLIENT: &str = "allocations of the load generator";

/// The server's metrics before and after a scenario.
struct MetricsChange<'a> {
    before: &'a str,
    after: &'a str,
    messages: f64,
}

/// Figures of one scenario.
struct ScenarioFigures {
    measured: Measured,
    /// Messages of the scenario, with those of the warm-up.
    messages: f64,
    figures: Vec<(&'static str, f64)>,
}

/// Measures each scenario on a server of its own, since jemalloc prints its counts when a server ends.
pub async fn run(run: &mut Run) -> Result<()> {
    let ended = scenarios(run).await;
    allocations::stop();
    ended
}

async fn scenarios(run: &mut Run) -> Result<()> {
    let load = Best::of("posthouse").load(PAYLOAD_BYTES, run.lengths.scenario);
    let (idle, _) = with_server(run, async |_| Ok(())).await?;
    let (allocated, mut published) = with_server(run, async |running| {
        Ok(watch(running, publish::run(running, "inside", load), |it| (&it.measured, it.measured.stored))
            .await?
            .1)
    })
    .await?;
    let each = (allocated - idle) / published.messages;
    published.figures.push((OF_SERVER, each));

    let (allocated, (before, mut consumed)) = with_server(run, async |running| {
        let published = publish::run(running, "inside", load).await?;
        let consumed = consume::run(running, "inside", load, &published);
        Ok((published.measured.stored, watch(running, consumed, |it| (it, it.tally.messages)).await?.1))
    })
    .await?;
    let rest = allocated - idle - each * before as f64;
    consumed.figures.push((OF_SERVER, rest / consumed.messages));

    let (allocated, mut through) = with_server(run, async |running| {
        Ok(watch(running, both::run(running, "inside", load), |it| (it, it.stored)).await?.1)
    })
    .await?;
    through.figures.push((OF_SERVER, (allocated - idle) / through.messages));

    for (scenario, figures) in [("publish", published), ("consume", consumed), ("both", through)] {
        for row in figures.rows(scenario, &load) {
            run.record(&row)?;
        }
    }
    Ok(())
}

/// Starts a server, does this with it, and stops it. Returns the server's allocations.
async fn with_server<T>(run: &Run, done: impl AsyncFnOnce(&Running) -> Result<T>) -> Result<(f64, T)> {
    let folder = TempDir::with_prefix_in("posthouse-", &run.disk)?;
    let site = Site::below(folder.path());
    let mut command = Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config()).env(PRINT_STATS.0, PRINT_STATS.1);
    let running = Running::start_as(site, command).await?;
    running.create("inside").await?;
    let done = done(&running).await?;
    let log = running.end().await?;
    Ok((allocations::of_server(&log)? as f64, done))
}

async fn watch<T>(
    running: &Running,
    scenario: impl Future<Output = Result<T>>,
    measured: impl Fn(&T) -> (&Measured, u64),
) -> Result<(T, ScenarioFigures)> {
    let (before, allocated) = (running.metrics().await, allocations::of_this_process());
    let ended = scenario.await?;
    let (after, allocated) = (running.metrics().await, allocations::of_this_process() - allocated);
    let (measured, messages) = measured(&ended);
    let (measured, messages) = (measured.clone(), (messages as f64).max(1.0));
    let mut figures = MetricsChange { before: &before, after: &after, messages }.figures();
    figures.push((OF_CLIENT, allocated as f64 / messages));
    Ok((ended, ScenarioFigures { measured, messages, figures }))
}

impl ScenarioFigures {
    fn rows(&self, scenario: &str, load: &Load) -> impl Iterator<Item = Row> {
        let row = self.measured.row("inside", "posthouse", scenario, load);
        self.figures.iter().map(move |(figure, x)| Row { axis: (*figure).to_owned(), x: *x, ..row.clone() })
    }
}

impl MetricsChange<'_> {
    fn increase(&self, series: &str) -> f64 {
        value(self.after, series) - value(self.before, series)
    }

    fn per_message(&self, series: &str) -> f64 {
        self.increase(series) / self.messages
    }

    /// Mean of a histogram's new values.
    fn mean(&self, name: &str) -> f64 {
        self.increase(&format!("{name}_sum")) / self.increase(&format!("{name}_count")).max(1.0)
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        const STORE: &str = "posthouse_store_table_bytes_total";
        let tables = |by: &str| self.per_message(&format!("{STORE}{{by=\"{by}\"}}"));
        let syncs = self.increase("posthouse_log_sync_duration_seconds_count").max(1.0);
        let logged = self.per_message("posthouse_log_written_bytes_total");
        let (flushed, compacted) = (tables("flush"), tables("compaction_write"));
        let cached = self.increase("posthouse_body_cache_reads_total{result=\"hit\"}");
        let missed = self.increase("posthouse_body_cache_reads_total{result=\"miss\"}");
        let micros = |name: &str| self.mean(name) * 1e6;
        vec![
            ("messages of a sync", self.messages / syncs),
            ("sync, mean, µs", micros("posthouse_log_sync_duration_seconds")),
            ("write of the log, mean, µs", micros("posthouse_log_write_duration_seconds")),
            ("commit, mean, µs", micros("posthouse_commit_duration_seconds")),
            ("commands of a batch", self.mean("posthouse_batch_commands")),
            ("applying a batch, mean, µs", micros("posthouse_apply_duration_seconds")),
            ("bytes to the log", logged),
            ("bytes of the store's batches", self.per_message("posthouse_store_batch_bytes_total")),
            ("bytes flushed", flushed),
            ("bytes read by compaction", tables("compaction_read")),
            ("bytes written by compaction", compacted),
            ("bytes written for a byte of payload", (logged + flushed + compacted) / PAYLOAD_BYTES as f64),
            (
                "writes held back for flushes, µs",
                self.per_message("posthouse_store_write_stall_seconds_total") * 1e6,
            ),
            ("bodies read from the store", missed / self.messages),
            ("bodies read from memory", cached / self.messages),
            (
                "blocks read from the cache",
                self.per_message("posthouse_store_block_reads_total{from=\"cache\"}"),
            ),
            (
                "blocks read from the disk",
                self.per_message("posthouse_store_block_reads_total{from=\"disk\"}"),
            ),
            ("deleted rows passed over", self.per_message("posthouse_store_skipped_tombstones_total")),
        ]
    }
}

//! The parts of a run. Each writes its rows as it goes.

pub mod compare;
pub mod growth;
pub mod inside;
pub mod latency;
pub mod own;
pub mod profile;
pub mod shapes;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    plan::Lengths,
    report::Recorder,
    row::Row,
    system::{Server, System},
};

/// State that all parts share.
pub struct Run {
    /// Writes the rows.
    pub recorder: Recorder,
    /// The folder of the raw data.
    pub out: PathBuf,
    /// The folder below which every system has its data, on the same disk.
    pub disk: PathBuf,
    /// Lengths of the measurements.
    pub lengths: Lengths,
    /// The systems that are measured.
    pub systems: Vec<Box<dyn System>>,
}

/// A server that runs in its own folder.
pub struct Started {
    /// The server.
    pub server: Box<dyn Server>,
    folder: TempDir,
}

impl Run {
    /// Starts a system in an empty folder.
    pub async fn start(&self, system: &dyn System) -> Result<Started> {
        let folder = TempDir::with_prefix_in(format!("{}-", system.name()), &self.disk)?;
        let server =
            system.start(folder.path()).await.with_context(|| format!("{} starts", system.name()))?;
        Ok(Started { server, folder })
    }

    /// Writes a row to the raw data and to stderr.
    pub fn record(&mut self, row: &Row) -> Result<()> {
        eprintln!(
            "{:<11} {:<16} {:<10} {:>2} {:>9.0} msg/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {:>6.2} us of the server's \
             time  {:>5} MiB  {}",
            row.part,
            row.system,
            row.scenario,
            row.round,
            row.rate,
            row.p50_us / 1_000.0,
            row.p99_us / 1_000.0,
            if row.messages > 0 { row.server_cpu_seconds * 1e6 / row.messages as f64 } else { 0.0 },
            row.server_memory_bytes >> 20,
            row.remark,
        );
        self.recorder.row(row)
    }

    /// Writes a row for a failed measurement; the run continues.
    pub fn failed(
        &mut self,
        part: &str,
        system: &str,
        scenario: &str,
        round: u32,
        why: &anyhow::Error,
    ) -> Result<()> {
        let row = Row {
            part: part.to_owned(),
            system: system.to_owned(),
            scenario: scenario.to_owned(),
            round,
            remark: format!("failed: {why:#}"),
            ..Row::default()
        };
        self.record(&row)
    }
}

impl Started {
    /// Stops the server and removes its data.
    pub async fn stop(self) -> Result<()> {
        self.server.stop().await?;
        self.folder.close().context("the data is removed")
    }
}

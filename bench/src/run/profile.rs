//! Loads Posthouse while perf samples its process.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use super::{growth::backlog::fill, shapes::single};
use crate::{
    load::{Load, both, consume, publish},
    plan::{Best, PAYLOAD_BYTES},
    system::{
        Server as _, System as _,
        posthouse::{self, Running},
    },
};

/// Samples per second: a prime, so that they do not coincide with regular work.
const SAMPLES: &str = "397";
/// Length of the sampling.
const LENGTH: Duration = Duration::from_secs(5);

/// What the server does during the sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    Publish,
    Consume,
    Both,
    /// Publishes with one message in flight on each of 64 connections.
    Single,
}

/// Writes perf's samples to a file for `perf script`.
pub async fn run(scenario: Scenario, backlog: u64, samples: &Path, disk: &Path) -> Result<()> {
    let folder = TempDir::with_prefix_in("posthouse-", disk)?;
    let running = posthouse::start(folder.path()).await?;
    running.create("profiled").await?;
    let load = match scenario {
        Scenario::Single => single(LENGTH),
        _ => Load {
            max_messages: u64::MAX,
            ..Best::of(posthouse::Posthouse.name()).load(PAYLOAD_BYTES, LENGTH)
        },
    };
    let measured = match scenario {
        Scenario::Publish | Scenario::Single => {
            let sampling = sample(&running, samples)?;
            let published = publish::run(&running, "profiled", load).await?;
            finish(sampling)?;
            published.measured
        }
        Scenario::Consume => {
            let published = publish::run(&running, "profiled", load).await?;
            let sampling = sample(&running, samples)?;
            let consumed = consume::run(&running, "profiled", load, &published).await?;
            finish(sampling)?;
            consumed
        }
        Scenario::Both => {
            fill(&running, "profiled", backlog).await?;
            let load = Load { keeps_backlog: backlog > 0, ..load };
            let sampling = sample(&running, samples)?;
            let through = both::run(&running, "profiled", load).await?;
            finish(sampling)?;
            through
        }
    };
    eprintln!("{:.0} messages a second while it was sampled", measured.rate());
    Box::new(running).stop().await
}

fn sample(running: &Running, samples: &Path) -> Result<std::process::Child> {
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-e", "cpu-clock", "-F", SAMPLES, "--call-graph", "dwarf,8192"]);
    perf.arg("-o").arg(samples).arg("-p").arg(running.pids()[0].to_string());
    perf.args(["--", "sleep", &LENGTH.as_secs().to_string()]);
    perf.stdin(Stdio::null()).spawn().context("perf does not start; on Debian it is in linux-perf")
}

fn finish(mut sampling: std::process::Child) -> Result<()> {
    let status = sampling.wait()?;
    ensure!(status.success(), "perf ended with {status}");
    Ok(())
}

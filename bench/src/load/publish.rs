//! Publishing alone.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::send::{self, Sending};
use super::{Load, Measured};
use crate::measure::usage::Watch;
use crate::system::Server;

/// What was published, for whoever takes it: payloads' moments count from `origin`.
#[derive(Debug)]
pub struct Published {
    /// What was measured.
    pub measured: Measured,
    /// When the payloads' moments count from.
    pub origin: Instant,
}

/// Publishes for the load's length; the queue keeps what was published.
pub async fn run(server: &dyn Server, queue: &str, load: Load) -> Result<Published> {
    let producers = send::open(server, queue, &load).await?;
    let sending = Sending::begin(load, None)?;
    let mut tasks = JoinSet::new();
    sending.start(producers, &mut tasks);
    let ending = sending.stop.clone();
    let pids = server.pids();
    let watch = tokio::spawn(async move {
        tokio::time::sleep(load.warm_up).await;
        let (begun, watch) = (Instant::now(), Watch::begin(pids));
        let _ = tokio::time::timeout(load.length, ending.cancelled()).await;
        ending.cancel();
        (watch.end(), begun.elapsed())
    });
    let ended = join(&mut tasks, &sending.stop).await;
    sending.stop.cancel();
    let (usage, mut length) = watch.await?;
    ended?;
    let tally = sending.tally()?;
    if sending.stored() >= load.most {
        // It ended before its time: when all were stored.
        length = length.min(tally.span());
    }
    let measured = Measured { tally, length, usage, stored: sending.stored(), again: 0 };
    Ok(Published { measured, origin: sending.origin })
}

/// Waits for all tasks, and stops all when one fails.
pub async fn join(tasks: &mut JoinSet<Result<()>>, stop: &tokio_util::sync::CancellationToken) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.context("a task")? {
            stop.cancel();
            tasks.abort_all();
            return Err(error);
        }
    }
    Ok(())
}

//! Publishing alone.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::{
    Load, Measured,
    send::{self, Sending},
    span,
};
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
    sending.start(producers, &mut tasks)?;
    let watch = span::watch(&load, server.pids(), sending.stop.clone());
    let ended = join(&mut tasks, &sending.stop).await;
    sending.stop.cancel();
    let (usage, mut length) = watch.await?;
    ended?;
    let tally = sending.tally()?;
    if sending.stored() >= load.max_messages {
        // It ended before its time: when all were stored.
        length = length.min(tally.span());
    }
    let measured = Measured { tally, length, usage, stored: sending.stored(), duplicates: 0 };
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

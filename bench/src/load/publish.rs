//! The scenario `publish`.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::{
    Load, Measured,
    send::{self, Sending},
    span,
};
use crate::system::Server;

/// What was published. The moments in the payloads are relative to `origin`.
#[derive(Debug)]
pub struct Published {
    /// Counts, latencies and usage of publishing.
    pub measured: Measured,
    /// The origin of the moments in the payloads.
    pub origin: Instant,
}

/// Publishes for the load's length; the messages stay in the queue.
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
        // All messages were stored before the time was over.
        length = length.min(tally.span());
    }
    let measured = Measured { tally, length, usage, stored: sending.stored(), duplicates: 0 };
    Ok(Published { measured, origin: sending.origin })
}

/// Waits for all tasks. When one fails, the others are stopped.
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

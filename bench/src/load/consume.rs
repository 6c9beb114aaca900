//! Consuming and settling what is in a queue.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::{
    Load, Measured,
    publish::{Published, join},
    receive::{self, Receiving},
};
use crate::{measure::usage::Watch, system::Server};

/// Between two looks whether all has come.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long nothing may come before messages count as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes and settles everything that was published, or as much as comes in the load's length; what is measured is from the
/// first delivery to the last settlement.
pub async fn run(server: &dyn Server, queue: &str, load: Load, published: &Published) -> Result<Measured> {
    let stored = published.measured.stored;
    let receiving = Receiving::backlog(load, published.origin)?;
    let consumers = receive::open(server, queue, &load).await?;
    let watch = Watch::begin(server.pids());
    let mut tasks = JoinSet::new();
    receiving.start(consumers, &mut tasks);
    let ended = tokio::select! {
        ended = join(&mut tasks, &receiving.stop) => ended,
        waited = wait(&receiving, stored, load.length) => waited,
    };
    receiving.stop.cancel();
    ended?;
    join(&mut tasks, &receiving.stop).await?;
    let usage = watch.end();
    let tally = receiving.tally()?;
    let length = tally.span();
    Ok(Measured { tally, length, usage, stored, duplicates: receiving.seen.duplicates() })
}

/// Until so many different ones have come, or the time is over.
pub async fn wait(receiving: &Receiving, stored: u64, length: Duration) -> Result<()> {
    let begun = Instant::now();
    let (mut before, mut since) = (0, begun);
    while begun.elapsed() < length {
        let received = receiving.seen.distinct();
        if received >= stored {
            return Ok(());
        }
        if received > before {
            (before, since) = (received, Instant::now());
        } else if since.elapsed() > PATIENCE {
            bail!("{stored} were stored, and {received} have come: the others are lost, or held back");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

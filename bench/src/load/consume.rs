//! The scenario `consume`: receiving and settling what is in a queue.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use super::{
    Load, Measured,
    publish::{Published, join},
    receive::{self, Receiving},
};
use crate::{measure::usage::Watch, system::Server};

/// Time between two checks whether all messages were received.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Messages count as lost when none was received for this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Consumes and settles everything that was published, or what is delivered within the load's length. It measures from
/// the first delivery to the last settlement.
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

/// Waits until `stored` different messages were received, or until `length` is over.
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

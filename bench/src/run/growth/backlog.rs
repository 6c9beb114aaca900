//! Growth of the backlog: throughput beside waiting messages, their bytes on the disk, and the start after a kill.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use posthouse_client::Queue;

use super::{
    super::{Run, own},
    alternate, decades, point,
};
use crate::{
    load::{Load, both, publish},
    plan::{Best, PAYLOAD_BYTES},
    row::Row,
    system::{
        Server as _,
        posthouse::{Running, short_name},
    },
};

const SMALLEST: u64 = 1_000;
/// Time between two attempts to reach a starting server.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures the curve, and its two ends last.
pub async fn run(run: &mut Run) -> Result<()> {
    let (mut running, _folder) = own::start(run).await?;
    running.create("backlog").await?;
    for backlog in decades(SMALLEST, run.lengths.backlog) {
        // The two ends are measured later, alternately.
        if backlog != SMALLEST && backlog != run.lengths.backlog {
            beside(run, &running, backlog, 0).await?;
        }
        // The receivers stop after the senders, and may have consumed waiting messages.
        fill(&running, "backlog", backlog).await?;
        let stored = folder_bytes(&running.data())?;
        let disk = Row { system: "posthouse".to_owned(), disk_bytes: stored, ..Row::default() };
        run.record(&point(Row { scenario: "disk".to_owned(), ..disk }, "backlog-disk", backlog))?;
        let seconds = restart(&mut running).await?;
        let start = Row { system: "posthouse".to_owned(), seconds, ..Row::default() };
        run.record(&point(Row { scenario: "start".to_owned(), ..start }, "start-seconds", backlog))?;
    }
    ends(run, &running).await?;
    Box::new(running).stop().await
}

/// The shortest and the longest backlog alternately, each on its own server, so that disturbances of the machine affect
/// both.
async fn ends(run: &mut Run, longest: &Running) -> Result<()> {
    let (shortest, _folder) = own::start(run).await?;
    shortest.create("backlog").await?;
    for round in 1..=run.lengths.rounds {
        for (running, backlog) in alternate(round, [(&shortest, SMALLEST), (longest, run.lengths.backlog)]) {
            beside(run, running, backlog, round).await?;
        }
    }
    Box::new(shortest).stop().await
}

/// Publishes and consumes beside a backlog.
async fn beside(run: &mut Run, running: &Running, backlog: u64, round: u32) -> Result<()> {
    fill(running, "backlog", backlog).await?;
    let load = Best::of("posthouse").load(PAYLOAD_BYTES, run.lengths.scenario);
    let load = Load { max_messages: u64::MAX, keeps_backlog: true, ..load };
    let measured = both::run(running, "backlog", load).await?;
    let row = Row { round, ..measured.row("", "posthouse", "both", &load) };
    run.record(&point(row, "backlog", backlog))
}

/// Publishes until the queue has this backlog.
pub async fn fill(running: &Running, queue: &str, backlog: u64) -> Result<()> {
    let Queue { stats, .. } = running.client().queues().get(&short_name(queue)).await?;
    let waiting = stats.context("the server tells no numbers of a queue")?.ready;
    let Some(more) = backlog.checked_sub(waiting).filter(|more| *more > 0) else { return Ok(()) };
    let load = Best::of("posthouse").load(PAYLOAD_BYTES, Duration::from_secs(3_600));
    publish::run(running, queue, Load { max_messages: more, warm_up: Duration::ZERO, ..load }).await?;
    Ok(())
}

/// Kills the server; returns the seconds from its new start to the first delivery.
async fn restart(running: &mut Running) -> Result<f64> {
    let begun = Instant::now();
    running.crash();
    loop {
        match first_delivery(running).await {
            Ok(()) => return Ok(begun.elapsed().as_secs_f64()),
            Err(why) if begun.elapsed() > PATIENCE => return Err(why.context("no delivery after a start")),
            Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
        }
    }
}

async fn first_delivery(running: &Running) -> Result<()> {
    let consumer = running.client().consumer(short_name("backlog")).credit_messages(1).open().await?;
    let delivery = consumer.next().await?.context("the stream has ended")?;
    delivery.release().await?;
    consumer.close().await?;
    Ok(())
}

/// Bytes of the disk that the files of a folder occupy.
fn folder_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file may have been deleted in the meantime.
        let Ok(about) = entry.metadata() else { continue };
        sum += if about.is_dir() { folder_bytes(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(sum)
}

//! Growth of the queues: memory of idle queues, a load on one beside them, and a load spread over all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use posthouse_client::QueueSettings;
use posthouse_proto::v1;
use posthouse_tests::harness::{site::Site, wire::Caller};
use rand::RngExt as _;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    super::{Run, own},
    alternate, decades, point,
};
use crate::{
    load::{Load, both, payload::Payloads},
    measure::{process::memory_bytes, usage::Watch},
    plan::{Best, PAYLOAD_BYTES},
    row::Row,
    system::{
        Server as _,
        posthouse::{Running, full_name, short_name},
    },
};

/// Queues that are created at the same time.
const AT_ONCE: usize = 64;
/// Connections of the spread load, and concurrent calls on each.
const CALLERS: usize = 4;
const CALLS: usize = 32;
/// Messages of one call, all to one queue.
const BATCH: usize = 32;

pub async fn run(run: &mut Run) -> Result<()> {
    let folder = TempDir::with_prefix_in("posthouse-", &run.disk)?;
    let site = Site::below(folder.path());
    site.configure(&[(
        "[[tenant]]\nname = \"civil-affairs\"\n",
        "[[tenant]]\nname = \"civil-affairs\"\nmax_queues = 1000000\n",
    )]);
    let mut running = Running::start(site).await?;
    running.create("both").await?;
    let mut there = 0;
    let curve = decades(1, run.lengths.queues);
    let largest = curve.last().copied().unwrap_or(1);
    for queues in curve {
        // The queue of `load_on_one` counts too.
        let others = (queues - 1).max(1);
        create(&running, there..others).await?;
        there = others;
        match queues {
            // The two ends are measured alternately.
            _ if queues == largest => ends(run, &running, largest).await?,
            // Measured only so that the server has done the same at every point, for its memory.
            1 => drop(load_on_one(run, &running).await?),
            _ => beside(run, &running, queues, 0).await?,
        }
        let spread = spread(&running, others, run.lengths.point).await?;
        run.record(&point(spread, "queues-spread", queues))?;
        running.restart().await?;
        let idle = memory_bytes(&running.pids());
        let row = Row { system: "posthouse".to_owned(), server_memory_bytes: idle, ..Row::default() };
        run.record(&point(Row { scenario: "idle".to_owned(), ..row }, "queues-idle-memory", queues))?;
    }
    Box::new(running).stop().await
}

/// One queue and the largest number alternately, each on its own server, so that disturbances of the machine affect
/// both.
async fn ends(run: &mut Run, running: &Running, largest: u64) -> Result<()> {
    let (one, _folder) = own::start(run).await?;
    one.create("both").await?;
    for round in 1..=run.lengths.rounds {
        for (running, queues) in alternate(round, [(&one, 1), (running, largest)]) {
            beside(run, running, queues, round).await?;
        }
    }
    Box::new(one).stop().await
}

/// Measures the load on one queue beside the others.
async fn beside(run: &mut Run, running: &Running, queues: u64, round: u32) -> Result<()> {
    let row = Row { round, ..load_on_one(run, running).await? };
    run.record(&point(row, "queues", queues))
}

/// Publishes to one queue and consumes from it.
async fn load_on_one(run: &Run, running: &Running) -> Result<Row> {
    let load =
        Load { max_messages: u64::MAX, ..Best::of("posthouse").load(PAYLOAD_BYTES, run.lengths.point) };
    let measured = both::run(running, "both", load).await?;
    Ok(measured.row("", "posthouse", "both", &load))
}

async fn create(running: &Running, numbers: std::ops::Range<u64>) -> Result<()> {
    let queues = running.client().queues();
    let settings = QueueSettings::new();
    let creating = numbers.map(|number| {
        let (queues, settings) = (queues.clone(), settings.clone());
        async move { queues.create(&short_name(&queue(number)), &settings).await }
    });
    stream::iter(creating).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// Name of a queue of the spread load, from which nobody consumes.
fn queue(number: u64) -> String {
    format!("spread-{number}")
}

/// Publishes to random queues, in calls of many messages.
async fn spread(running: &Running, queues: u64, length: Duration) -> Result<Row> {
    let published = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let watch = Watch::begin(running.pids());
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let caller = running.caller().await;
        for _ in 0..CALLS {
            tasks.spawn(publish(caller.clone(), queues, begun + length, Arc::clone(&published)));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task")??;
    }
    let (seconds, usage) = (begun.elapsed().as_secs_f64(), watch.end());
    let messages = published.load(Ordering::Relaxed);
    Ok(Row {
        system: "posthouse".to_owned(),
        scenario: "publish".to_owned(),
        payload_bytes: PAYLOAD_BYTES as u64,
        connections: CALLERS as u64,
        batch: BATCH as u64,
        window: (CALLS * BATCH) as u64,
        messages,
        seconds,
        rate: messages as f64 / seconds,
        server_cpu_seconds: usage.server_cpu_seconds,
        client_cpu_seconds: usage.client_cpu_seconds,
        server_memory_bytes: usage.server_memory_bytes,
        disk_bytes: usage.disk_bytes,
        ..Row::default()
    })
}

async fn publish(caller: Caller, queues: u64, end: Instant, published: Arc<AtomicU64>) -> Result<()> {
    let mut payloads = Payloads::new(PAYLOAD_BYTES, end);
    let mut publisher = caller.publisher();
    while Instant::now() < end {
        let number = rand::rng().random_range(0..queues);
        let message = |_| v1::NewMessage { payload: payloads.next(end, number), ..v1::NewMessage::default() };
        let messages = (0..BATCH).map(message).collect();
        let request = v1::PublishRequest { queue: full_name(&queue(number)), messages, ..Default::default() };
        publisher.publish(caller.request(request)).await?;
        published.fetch_add(BATCH as u64, Ordering::Relaxed);
    }
    Ok(())
}

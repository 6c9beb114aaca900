//! The scenario `both`: publishing and consuming at once, end to end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Load, Measured, consume, publish,
    receive::{self, Receiving},
    send::{self, Sending},
    span,
};
use crate::{measure::usage::Watch, row::Row, system::Server};

/// How long the remaining messages may take after sending has ended.
const DRAIN: Duration = Duration::from_secs(120);
/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(10);

/// Publishes for the load's length while all messages are consumed, and then consumes the rest: every stored message
/// has to be delivered. Settlements are counted; a latency is from the moment a message was due to its delivery.
pub async fn run(server: &dyn Server, queue: &str, load: Load) -> Result<Measured> {
    sampled(server, queue, load, None).await
}

/// Runs `both`, and sends a row of samples every ten seconds.
pub async fn sampled(
    server: &dyn Server,
    queue: &str,
    load: Load,
    samples: Option<mpsc::UnboundedSender<Row>>,
) -> Result<Measured> {
    let producers = send::open(server, queue, &load).await?;
    let consumers = receive::open(server, queue, &load).await?;
    let bound = load.rate.is_none().then(|| Arc::new(Semaphore::new(load.shape.window * load.connections)));
    let sending = Sending::begin(load, bound.clone())?;
    let receiving = Receiving::end_to_end(load, sending.origin, bound)?;
    let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
    sending.start(producers, &mut senders)?;
    receiving.start(consumers, &mut receivers);
    let pids = server.pids();
    let sampling = samples.map(|samples| {
        let (receiving, pids) = (Arc::clone(&receiving), pids.clone());
        AbortOnDropHandle::new(tokio::spawn(async move { sample(&receiving, &pids, &samples).await }))
    });
    let watch = span::watch(&load, pids, sending.stop.clone());
    let ended = tokio::select! {
        ended = publish::join(&mut senders, &sending.stop) => ended,
        ended = publish::join(&mut receivers, &receiving.stop) => ended,
    };
    sending.stop.cancel();
    let (usage, length) = watch.await?;
    drop(sampling);
    ended?;
    drain(&sending, &receiving, &mut receivers, load.keeps_backlog).await?;
    let tally = receiving.tally()?;
    let duplicates = if load.keeps_backlog { 0 } else { receiving.seen.duplicates() };
    Ok(Measured { tally, length, usage, stored: sending.stored(), duplicates })
}

async fn drain(
    sending: &Sending,
    receiving: &Receiving,
    receivers: &mut JoinSet<Result<()>>,
    keeps_backlog: bool,
) -> Result<()> {
    if keeps_backlog {
        receiving.stop.cancel();
        return publish::join(receivers, &receiving.stop).await;
    }
    let stored = sending.stored();
    let drained = tokio::select! {
        ended = publish::join(receivers, &receiving.stop) => ended,
        drained = consume::wait(receiving, stored, DRAIN) => drained,
    };
    receiving.stop.cancel();
    drained?;
    publish::join(receivers, &receiving.stop).await?;
    let received = receiving.seen.distinct();
    if received < stored {
        bail!("{stored} were stored, and {received} came within {} s", DRAIN.as_secs());
    }
    Ok(())
}

/// Sends the rate of settlements and the memory, until the receiver is closed.
async fn sample(receiving: &Receiving, pids: &[u32], samples: &mpsc::UnboundedSender<Row>) -> Result<()> {
    let begun = Instant::now();
    let (mut before, mut then) = (0, begun);
    let mut watch = Watch::begin(pids.to_vec());
    loop {
        tokio::time::sleep(SAMPLE).await;
        let (now, messages, usage) = (Instant::now(), receiving.tally()?.messages, watch.end());
        watch = Watch::begin(pids.to_vec());
        let seconds = (now - then).as_secs_f64();
        let row = Row {
            part: "soak".to_owned(),
            system: "posthouse".to_owned(),
            scenario: "both".to_owned(),
            axis: "minute".to_owned(),
            x: (now - begun).as_secs_f64() / 60.0,
            messages: messages - before,
            seconds,
            rate: (messages - before) as f64 / seconds,
            server_cpu_seconds: usage.server_cpu_seconds,
            client_cpu_seconds: usage.client_cpu_seconds,
            server_memory_bytes: usage.server_memory_bytes,
            disk_bytes: usage.disk_bytes,
            ..Row::default()
        };
        (before, then) = (messages, now);
        if samples.send(row).is_err() {
            return Ok(());
        }
    }
}

//! Parts for Posthouse alone: calls of one message (`fila`), `memory` at full load, and `soak`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::posthouse::bench::latency;
use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use posthouse_proto::v1;
use posthouse_tests::harness::wire::Caller;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::Run;
use crate::{
    load::{Load, both, consume, payload::Payloads, publish},
    measure::usage::Watch,
    plan::{Best, PAYLOAD_BYTES},
    row::Row,
    system::{
        Server as _,
        posthouse::{self, Running, full_name},
    },
};

/// Connections at which memory has a target.
const MEMORY_CONNECTIONS: [usize; 2] = [64, 512];
/// Concurrent calls on one connection.
const CALLS: usize = 64;

/// Starts a server below the run's disk folder.
pub async fn start(run: &Run) -> Result<(Running, TempDir)> {
    let folder = TempDir::with_prefix_in("posthouse-", &run.disk)?;
    let running = posthouse::start(folder.path()).await?;
    Ok((running, folder))
}

/// One connection, one message per call, 64 concurrent calls: as Fila published its figure.
pub async fn fila(run: &mut Run) -> Result<()> {
    for round in 1..=run.lengths.rounds {
        let (running, _folder) = start(run).await?;
        running.create("calls").await?;
        let watch = Watch::begin(running.pids());
        let (messages, latencies) = calls(&running.caller().await, run.lengths.point).await?;
        let usage = watch.end();
        let seconds = run.lengths.point.as_secs_f64();
        run.record(&Row {
            part: "fila".to_owned(),
            system: "posthouse".to_owned(),
            scenario: "publish".to_owned(),
            round,
            payload_bytes: PAYLOAD_BYTES as u64,
            connections: 1,
            batch: 1,
            window: CALLS as u64,
            messages,
            seconds,
            rate: messages as f64 / seconds,
            p50_us: latencies.value_at_quantile(0.5) as f64,
            p99_us: latencies.value_at_quantile(0.99) as f64,
            server_cpu_seconds: usage.server_cpu_seconds,
            client_cpu_seconds: usage.client_cpu_seconds,
            server_memory_bytes: usage.server_memory_bytes,
            ..Row::default()
        })?;
        Box::new(running).stop().await?;
    }
    Ok(())
}

async fn calls(caller: &Caller, length: Duration) -> Result<(u64, Histogram<u64>)> {
    let (origin, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..CALLS {
        let (caller, done) = (caller.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let mut latencies = latency::histogram()?;
            let mut payloads = Payloads::new(PAYLOAD_BYTES, origin);
            let mut publisher = caller.publisher();
            while origin.elapsed() < length {
                let begun = Instant::now();
                let payload = payloads.next(begun, done.load(Ordering::Relaxed));
                let message = v1::NewMessage { payload, ..v1::NewMessage::default() };
                let request = v1::PublishRequest {
                    queue: full_name("calls"),
                    messages: vec![message],
                    ..Default::default()
                };
                publisher.publish(caller.request(request)).await?;
                done.fetch_add(1, Ordering::Relaxed);
                latencies.saturating_record(latency::micros(begun.elapsed()));
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = latency::histogram()?;
    while let Some(ended) = tasks.join_next().await {
        all.add(&ended.context("a task")??)?;
    }
    Ok((done.load(Ordering::Relaxed), all))
}

/// Peak of memory at full load, for each number of connections.
pub async fn memory(run: &mut Run) -> Result<()> {
    for connections in MEMORY_CONNECTIONS {
        let load = Best::of("posthouse").load_over(connections, PAYLOAD_BYTES, run.lengths.scenario);
        let (running, _folder) = start(run).await?;
        running.create("published").await?;
        running.create("both").await?;
        let published = publish::run(&running, "published", load).await?;
        run.record(&published.measured.row("memory", "posthouse", "publish", &load))?;
        let consumed = consume::run(&running, "published", load, &published).await?;
        run.record(&consumed.row("memory", "posthouse", "consume", &load))?;
        let through = both::run(&running, "both", load).await?;
        run.record(&through.row("memory", "posthouse", "both", &load))?;
        Box::new(running).stop().await?;
    }
    Ok(())
}

/// Publishes and consumes at full speed for a long time.
pub async fn soak(run: &mut Run) -> Result<()> {
    let load = Load { max_messages: u64::MAX, ..Best::of("posthouse").load(PAYLOAD_BYTES, run.lengths.soak) };
    let (running, _folder) = start(run).await?;
    running.create("soak").await?;
    let (samples, mut rows) = tokio::sync::mpsc::unbounded_channel();
    let measured = {
        let through = both::sampled(&running, "soak", load, Some(samples));
        tokio::pin!(through);
        loop {
            tokio::select! {
                biased;
                Some(sample) = rows.recv() => run.record(&sample)?,
                measured = &mut through => break measured?,
            }
        }
    };
    run.record(&measured.row("soak", "posthouse", "whole", &load))?;
    Box::new(running).stop().await
}

//! Whether other callers connect while attackers hold connections.

use std::time::Duration;

use posthouse_tests::{attack, harness::process};
use serde_json::json;

use super::{
    arena::Arena,
    options::Options,
    results::{Results, counts_json, mib},
};

/// The number of callers that try, each with a new connection.
const PINGS: usize = 20;
/// The interval between two of these callers.
const BETWEEN: Duration = Duration::from_millis(150);

pub async fn measure(options: &Options, results: &mut Results) {
    let (soft, hard) = options.files;
    let usual = format!("{soft}:{hard}");
    for (crowd, files) in [
        ("silent-511-of-one-host", format!("1024:{hard}")),
        ("silent-511-of-one-host", "1024:1024".to_owned()),
        ("silent-one-host", usual.clone()),
        ("silent-40-hosts", usual.clone()),
        ("idle-1500", usual.clone()),
        ("idle-1500-health", usual),
    ] {
        one(options, results, crowd, &files).await;
    }
}

async fn one(options: &Options, results: &mut Results, crowd: &str, files: &str) {
    let mut arena = Arena::start(options, None, files).await;
    let before = process::memory(arena.pid()).unwrap();
    let running = attack::begin(attack::named(crowd).unwrap(), &arena.target, 1);
    tokio::time::sleep(options.duration(20, 8)).await;
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    for _ in 0..PINGS {
        if let Some(time) = arena.ping().await {
            answered += 1;
            slowest = slowest.max(time);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let counts = arena.target.tally.counts();
    let memory = process::memory(arena.pid()).unwrap_or_default();
    drop(running);
    let mut passed = Vec::new();
    if answered < PINGS {
        passed.push(format!("{answered} of {PINGS} pings"));
    }
    passed.extend(arena.fault().await);
    let ended: u64 = counts.ends.values().sum();
    let line = format!(
        "files {files:<12} {answered} of {PINGS} pings, slowest {:6.0} ms; {} connections, {ended} closed: {}; \
         RSS {:.1} -> {:.1} MiB",
        slowest.as_secs_f64() * 1_000.0,
        counts.connections,
        counts.ends(),
        mib(before),
        mib(memory),
    );
    let object = json!({
        "measure": "places", "files": files, "answered": answered, "slowest_ms": slowest.as_millis() as u64,
        "memory_bytes": memory, "came": counts_json(&counts),
    });
    results.add(crowd, &line, object, &passed);
}

//! How much more memory a server uses under an attack than under full load, and whether it frees it afterwards.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use posthouse_tests::{
    attack::{self, Attack},
    harness::process,
};
use serde_json::{Value, json};

use super::{
    arena::Arena,
    options::{Measure, Options},
    results::{Results, counts_json, mib},
};

/// The memory that a server may use beyond its peak under full load.
const MORE: u64 = 256 << 20;
/// The memory that a server may keep after an attack: the body cache, and the allocator's fragmentation.
const MAX_RETAINED: u64 = 64 << 20;
/// How long after an attack the server may take to free the rest.
const RELEASED: Duration = Duration::from_secs(60);
/// An attack is stopped at this much memory: the machine would run out, and more would show nothing new.
const ENOUGH: u64 = 4 << 30;
/// The interval between two readings of a process's memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(200);
/// The full load in messages, and the longest that it may take.
const LOAD: (&str, Duration) = ("--count 300000", Duration::from_secs(180));
/// The wait after the load, and after preparations, until the memory does not change any more.
const REST: Duration = Duration::from_secs(3);

/// The memory of the same binary under full load.
struct Usual {
    peak: u64,
    rest: u64,
}

pub async fn measure(options: &Options, results: &mut Results, attacks: &[&Attack]) {
    let usual = usual(options).await;
    let line = format!("peak {:7.1} MiB, at rest {:7.1} MiB", mib(usual.peak), mib(usual.rest));
    let object = json!({"measure": "memory", "peak_bytes": usual.peak, "rest_bytes": usual.rest});
    results.add("(full load)", &line, object, &[]);
    let wanted = attacks.iter().flat_map(|attack| {
        options.connections(&[1, 10], &[10]).into_iter().map(move |connections| (*attack, connections))
    });
    let wanted: Vec<_> = wanted.collect();
    let measuring = wanted.into_iter().map(|(attack, connections)| one(options, attack, connections, &usual));
    let mut measuring = futures_util::stream::iter(measuring).buffer_unordered(options.at_once);
    while let Some(Finding { name, line, object, passed }) = measuring.next().await {
        results.add(name, &line, object, &passed);
    }
}

/// What one attack showed.
struct Finding {
    name: &'static str,
    line: String,
    object: Value,
    passed: Vec<String>,
}

impl Finding {
    fn without(attack: &Attack, why: &str, passed: &str) -> Self {
        let object = json!({"measure": "memory"});
        Self { name: attack.name, line: why.to_owned(), object, passed: vec![passed.to_owned()] }
    }
}

async fn usual(options: &Options) -> Usual {
    let arena = Arena::usual(options, None).await;
    arena.bench(LOAD.0, LOAD.1).await.expect("the full load is done");
    let peak = process::peak_memory(arena.pid());
    tokio::time::sleep(REST).await;
    Usual { peak, rest: process::memory(arena.pid()).unwrap() }
}

async fn one(options: &Options, attack: &Attack, connections: usize, usual: &Usual) -> Finding {
    if options.measure == Measure::All && Instant::now() > options.deadline {
        return Finding::without(attack, "not run: the time is over", "time");
    }
    let mut arena = Arena::usual(options, None).await;
    arena.prepare(attack.prepare).await;
    let pid = arena.pid();
    if attack.prepare != attack::Prepare::Nothing {
        tokio::time::sleep(REST).await;
    }
    let before = process::memory(pid).unwrap();
    process::forget_peak(pid);
    let cpu = process::cpu_seconds(pid);
    let begun = Instant::now();
    let running = attack::begin(attack, &arena.target, connections);
    while begun.elapsed() < options.duration(60, 4) && process::memory(pid).is_some_and(|now| now < ENOUGH) {
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
    let counts = arena.target.tally.counts();
    drop(running);
    let lasted = begun.elapsed().as_secs_f64();
    let mut passed = Vec::new();
    if !arena.server.runs() {
        return Finding::without(attack, "the server has ended", "life");
    }
    let peak = process::peak_memory(pid);
    let cpu = process::cpu_seconds(pid) - cpu;
    let (released, after) = released(pid, before.max(usual.rest) + MAX_RETAINED).await;
    if peak > usual.peak + MORE {
        passed.push("memory".to_owned());
    }
    if released.is_none() {
        passed.push("release".to_owned());
    }
    passed.extend(arena.fault().await);
    let line = format!(
        "x{connections:<3} {:9.1} MiB sent, RSS {:6.1} -> {:7.1}, after {:7.1} MiB ({}), {:8.0}/s, CPU {cpu:5.1} s, \
         {} resets, {} closed: {}",
        mib(counts.sent),
        mib(before),
        mib(peak),
        mib(after),
        released.map_or_else(|| "kept".to_owned(), |time| format!("{:.1} s", time.as_secs_f64())),
        counts.done as f64 / lasted,
        counts.resets,
        counts.ends.values().sum::<u64>(),
        counts.ends(),
    );
    let object = json!({
        "measure": "memory", "connections": connections, "seconds": lasted, "before_bytes": before,
        "peak_bytes": peak, "after_bytes": after, "released_seconds": released.map(|time| time.as_secs_f64()),
        "limit_bytes": usual.peak + MORE, "cpu_seconds": cpu, "came": counts_json(&counts),
    });
    Finding { name: attack.name, line, object, passed }
}

/// The time until a process uses at most `limit` bytes, and what it uses then, or at the end.
async fn released(pid: u32, limit: u64) -> (Option<Duration>, u64) {
    let begun = Instant::now();
    loop {
        let now = process::memory(pid).unwrap_or_default();
        if now <= limit {
            return (Some(begun.elapsed()), now);
        }
        if begun.elapsed() > RELEASED {
            return (None, now);
        }
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
}

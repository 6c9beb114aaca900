//! Invented rows for tests.

use super::{
    machine::Machine,
    raw::{Posthouse, Raw, Run},
};
use crate::{row::Row, system::Facts};

/// The systems and their invented rates.
const SPEEDS: [(&str, f64); 7] = [
    ("posthouse", 400_000.0),
    ("rabbitmq", 50_000.0),
    ("nats", 150_000.0),
    ("nats-always", 2_000.0),
    ("redis-always", 90_000.0),
    ("redis-everysec", 210_000.0),
    ("postgres", 9_000.0),
];

/// A row with usual values.
pub fn row(part: &str, system: &str, scenario: &str, rate: f64) -> Row {
    let messages = (rate * 10.0) as u64;
    Row {
        part: part.to_owned(),
        system: system.to_owned(),
        scenario: scenario.to_owned(),
        round: 1,
        payload_bytes: 1024,
        connections: 8,
        batch: 128,
        window: 1024,
        messages,
        seconds: 10.0,
        rate,
        p50_us: 4_000.0,
        p90_us: 6_000.0,
        p99_us: 9_000.0,
        p999_us: 20_000.0,
        max_us: 50_000.0,
        server_cpu_seconds: 2e6 / rate,
        client_cpu_seconds: 10.0,
        server_memory_bytes: 200 << 20,
        disk_bytes: messages * 1_100,
        ..Row::default()
    }
}

/// A row of a growth curve or of the soak.
pub fn point(part: &str, axis: &str, x: f64, rate: f64) -> Row {
    Row { axis: axis.to_owned(), x, ..row(part, "posthouse", "both", rate) }
}

/// A run in which every target is kept.
pub fn all() -> Raw {
    let mut rows = Vec::new();
    for (system, speed) in SPEEDS {
        for round in 1..=3_u32 {
            let rate = speed * (0.98 + 0.01 * f64::from(round));
            for scenario in ["publish", "consume", "both"] {
                rows.push(Row { round, ..row("compare", system, scenario, rate) });
            }
            rows.push(Row { round, connections: 64, batch: 1, window: 1, ..naive(system, rate) });
            rows.extend(latencies(system, speed, round));
            for payload_bytes in [100, 1_024, 16_384, 262_144] {
                let rate = rate / (1.0 + payload_bytes as f64 / 4_096.0);
                rows.push(Row { round, payload_bytes, ..row("payload", system, "both", rate) });
            }
            for connections in [1, 8, 64, 512] {
                let rate = rate * (1.0 + connections as f64).log2() / 10.0;
                rows.push(Row { round, connections, ..row("connections", system, "publish", rate) });
            }
        }
    }
    rows.extend(limits());
    rows.push(row("fila", "posthouse", "publish", 3_000.0));
    for (connections, mebibytes) in [(64, 400), (512, 900)] {
        let memory = Row { server_memory_bytes: mebibytes << 20, ..row("memory", "posthouse", "both", 3e5) };
        rows.push(Row { connections, ..memory });
    }
    rows.extend(growth());
    for minute in 1..=30 {
        let x = f64::from(minute);
        rows.push(Row {
            server_memory_bytes: (300 << 20) + minute as u64 * 10_000,
            ..point("soak", "minute", x, 2e5 + 50.0 * x)
        });
    }
    Raw { run: run(), systems: vec![facts("posthouse"), facts("rabbitmq")], rows }
}

fn naive(system: &str, rate: f64) -> Row {
    row("naive", system, "publish", if system == "posthouse" { 60_000.0 } else { rate / 4.0 })
}

fn latencies(system: &str, speed: f64, round: u32) -> Vec<Row> {
    let slow = if system == "posthouse" { 1.0 } else { 4.0 + 1e6 / speed / 10.0 };
    let latency = |remark: &str, asked_rate: f64, load: f64| Row {
        round,
        remark: remark.to_owned(),
        asked_rate,
        p50_us: 3_000.0 * slow * load,
        p99_us: 8_000.0 * slow * load,
        p999_us: 16_000.0 * slow * load,
        ..row("latency", system, "both", asked_rate.min(speed))
    };
    vec![
        latency("10%", speed * 0.1, 1.0),
        latency("50%", speed * 0.5, 1.5),
        latency("90%", speed * 0.9, 3.0),
        latency("half of rabbitmq", 25_000.0, 1.2),
    ]
}

fn limits() -> Vec<Row> {
    let fsync = Row { p50_us: 2_000.0, payload_bytes: 4096, ..row("limit", "fsync", "publish", 500.0) };
    let mut rows =
        vec![fsync, row("limit", "bare", "publish", 420_000.0), row("limit", "echo", "publish", 600_000.0)];
    for batch in [128, 1024] {
        rows.push(Row { batch, ..row("limit", "rocksdb", "publish", 200_000.0 + 100.0 * batch as f64) });
    }
    rows
}

fn growth() -> Vec<Row> {
    let mut rows = Vec::new();
    for (axis, points) in [
        ("backlog", &[1e3, 1e4, 1e5, 1e6, 1e7][..]),
        ("queues", &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5]),
        ("tenants", &[1.0, 10.0, 100.0, 1e3]),
        ("consumers", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
        ("in-flight", &[1.0, 64.0, 4096.0]),
    ] {
        for x in points {
            rows.push(point("growth", axis, *x, 300_000.0 - 3_000.0 * x.log10()));
        }
    }
    for (x, memory) in [(1.0, 100 << 20), (100_000.0, 150 << 20)] {
        rows.push(Row { server_memory_bytes: memory, ..point("growth", "queues-idle-memory", x, 0.0) });
    }
    rows.push(Row { disk_bytes: 3 << 20, ..point("growth", "backlog-disk", 1024.0, 0.0) });
    rows.push(Row { seconds: 0.4, ..point("growth", "start-seconds", 1e3, 0.0) });
    rows.push(Row { seconds: 1.5, ..point("growth", "start-seconds", 1e7, 0.0) });
    rows
}

/// An invented run.
pub fn run() -> Run {
    let machine = Machine {
        cpu_model: "a processor".to_owned(),
        cores: 2,
        memory_bytes: 16 << 30,
        kernel: "Linux 0.0".to_owned(),
        filesystem: "ext4 (rw)".to_owned(),
        disk: "a disk, 100 GiB".to_owned(),
    };
    let posthouse = Posthouse { commit: "0123abc".to_owned(), version: "0.1.0".to_owned() };
    let (date, command) = ("2026-01-02T03:04:05Z".to_owned(), "make bench".to_owned());
    Run { date, command, machine, posthouse, before: Vec::new() }
}

/// Invented facts of a system.
pub fn facts(system: &str) -> Facts {
    Facts {
        system: system.to_owned(),
        version: format!("{system} 1.2"),
        client: "a client 3.4".to_owned(),
        publish_promise: "synced".to_owned(),
        settle_promise: "nothing".to_owned(),
        security: "none".to_owned(),
        settings: "a | b".to_owned(),
    }
}

/// The rows of [`all`], with some of them changed.
pub fn with(so: impl Fn(&Row) -> bool, change: impl Fn(&mut Row)) -> Vec<Row> {
    let mut rows = all().rows;
    let mut changed = 0;
    for row in rows.iter_mut().filter(|row| so(row)) {
        change(row);
        changed += 1;
    }
    assert!(changed > 0, "nothing was changed");
    rows
}

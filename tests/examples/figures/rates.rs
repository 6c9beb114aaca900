//! Messages a second, over mutual TLS, synced before they are answered, 1 KiB each.

use posthouse_tests::harness::process;

use super::{Bench, number};

const RUNS: u32 = 3;
const COUNT: u64 = 500_000;
const PROMISED: [(&str, f64); 3] = [("publish", 80_000.0), ("consume", 100_000.0), ("pipeline", 50_000.0)];

pub fn measure(bench: &mut Bench) {
    let count = number("POSTHOUSE_COUNT", COUNT);
    for (what, promised) in PROMISED {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let before = process::cpu_seconds(bench.server.id());
            let report = bench.run(&format!("{what} QUEUE --count {count}"));
            // Consuming fills the queue first, and publishing empties it afterwards, so the processor time is that of
            // both.
            let used = process::cpu_seconds(bench.server.id()) - before;
            let rate = report["messages_per_second"].as_f64().unwrap();
            let millis = |quantile: &str| {
                let latencies = &report["latency_microseconds"];
                let last = if what == "publish" { "stored" } else { "settled" };
                latencies[last][quantile].as_f64().unwrap() / 1000.0
            };
            let p99 =
                format!("{what}: p50 {:.1} ms, p99 {:.1} ms, server's time", millis("p50"), millis("p99"));
            bench.show(&p99, &format!("{:.1} us/message", used * 1e6 / count as f64));
            rates.push(rate);
        }
        let best = rates.iter().copied().fold(0.0, f64::max);
        let all = rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ");
        let line = format!("{what}: messages a second, best of {all}");
        bench.judge(&line, &format!("{best:.0}"), best >= promised, &format!("at least {promised}"));
    }
}

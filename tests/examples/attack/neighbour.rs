//! How long another tenant's messages take under an attack, and without one. Attackers run on one processor, server and
//! neighbour on another.

use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use posthouse_tests::{
    attack::{self, Attack, Counts, Prepare},
    harness::process,
};
use serde_json::{Value, json};

use super::{
    arena::Arena,
    options::{Measure, Options},
    results::{Results, counts_json, median, mib},
};

/// The neighbour's rate, in messages a second.
const RATE: u64 = 2_000;
/// The limit of the neighbour's latency under an attack: this multiple of that without one, or `MORE_MS` above it.
const TIMES: f64 = 2.0;
const MORE_MS: f64 = 20.0;
/// What one attack takes when all attacks are measured, each once.
const ONCE: Duration = Duration::from_secs(16);

/// The attacker's part: an attack, or a program that uses the attackers' processor and nothing else.
enum Part<'a> {
    Attack(&'a Attack),
    Burner,
}

/// One measurement of the neighbour.
struct Figures {
    settled_p99: f64,
    stored_p50: f64,
    stored_p99: f64,
    rate: f64,
}

/// What was measured of one attack.
#[derive(Default)]
struct Rounds {
    quiet: Vec<Figures>,
    flood: Vec<Figures>,
    cpu: Vec<f64>,
    rates: Vec<f64>,
    peak: u64,
    missed: usize,
    counts: Counts,
}

pub async fn measure(options: &Options, results: &mut Results, attacks: &[&Attack]) {
    process::pin(std::process::id(), &options.processors.0);
    let left = |measured: usize| u32::try_from(attacks.len() - measured).unwrap();
    one(options, results, "(CPU burner)", &Part::Burner, left(0)).await;
    for (number, attack) in attacks.iter().enumerate() {
        if Instant::now() + ONCE > options.deadline && options.measure == Measure::All {
            results.add(attack.name, "not run: the time is over", json!({}), &["time".to_owned()]);
            continue;
        }
        one(options, results, attack.name, &Part::Attack(attack), left(number + 1)).await;
    }
}

/// Measures one attack; `left` more are to be measured after it.
async fn one(options: &Options, results: &mut Results, name: &str, part: &Part<'_>, left: u32) {
    let mut arena = Arena::usual(options, Some(&options.processors.1)).await;
    let prepare = if let Part::Attack(attack) = part { attack.prepare } else { Prepare::Nothing };
    arena.prepare(prepare).await;
    let mut rounds = Rounds::default();
    // Among all attacks each is measured once, and again if it passed its limit and there is time: other programs may
    // have used the processors.
    let (pairs, again) = match (options.pairs, options.measure) {
        (Some(pairs), _) => (pairs, 0),
        (None, Measure::All) => (1, 2),
        (None, _) => (5, 0),
    };
    for pair in 0..pairs + again {
        if pair >= pairs && (rounds.is_met() || Instant::now() + (left + 2) * ONCE > options.deadline) {
            break;
        }
        rounds.pair(options, &arena, part).await;
    }
    let fault = arena.fault().await;
    rounds.report(results, name, matches!(part, Part::Burner), fault);
}

impl Rounds {
    async fn pair(&mut self, options: &Options, arena: &Arena, part: &Part<'_>) {
        let seconds = options.duration(30, 4).as_secs();
        let quiet = figures(arena, seconds).await;
        let (cpu, begun) = (process::cpu_seconds(arena.pid()), Instant::now());
        process::forget_peak(arena.pid());
        let target = arena.target.afresh();
        let flood = match part {
            Part::Attack(attack) => {
                let connections = options.connections(&[4], &[4])[0];
                let _running = attack::begin(attack, &target, connections);
                figures(arena, seconds).await
            }
            Part::Burner => {
                let _burner = Burner::start(&options.processors.0);
                figures(arena, seconds).await
            }
        };
        let lasted = begun.elapsed().as_secs_f64();
        self.counts = target.tally.counts();
        self.rates.push(self.counts.done as f64 / lasted);
        self.cpu.push((process::cpu_seconds(arena.pid()) - cpu) / lasted);
        self.peak = self.peak.max(process::peak_memory(arena.pid()));
        self.missed += usize::from(quiet.is_none()) + usize::from(flood.is_none());
        self.quiet.extend(quiet);
        self.flood.extend(flood);
        // The work that the attack has begun is over before the next measurement.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    fn middle(figures: &[Figures], of: fn(&Figures) -> f64) -> f64 {
        median(figures.iter().map(of).collect())
    }

    fn p99(&self) -> (f64, f64) {
        let p99 = |figures: &Figures| figures.settled_p99;
        (Self::middle(&self.quiet, p99), Self::middle(&self.flood, p99))
    }

    fn is_met(&self) -> bool {
        let (quiet, flood) = self.p99();
        self.missed == 0 && flood <= (TIMES * quiet).max(quiet + MORE_MS)
    }

    fn report(&self, results: &mut Results, name: &str, control: bool, fault: Option<String>) {
        let (quiet, flood) = self.p99();
        let mut passed: Vec<_> = fault.into_iter().collect();
        if !self.is_met() && !control {
            passed.push("neighbour".to_owned());
        }
        let stored =
            (Self::middle(&self.flood, |f| f.stored_p50), Self::middle(&self.flood, |f| f.stored_p99));
        let messages = Self::middle(&self.flood, |figures| figures.rate);
        let (rate, cpu) = (median(self.rates.clone()), median(self.cpu.clone()));
        let line = format!(
            "settled p99 {quiet:7.1} -> {flood:7.1} ms, stored {:5.1}/{:6.1} ms, {messages:5.0} msg/s, {rate:9.0}/s, \
             CPU {cpu:4.2}, peak {:6.1} MiB, {} resets, {} refused, {} closed: {}{}",
            stored.0,
            stored.1,
            mib(self.peak),
            self.counts.resets,
            self.counts.refused,
            self.counts.ends.values().sum::<u64>(),
            self.counts.ends(),
            if self.missed > 0 { format!(" ({} not done)", self.missed) } else { String::new() },
        );
        let all =
            |figures: &[Figures]| -> Value { figures.iter().map(|figures| figures.settled_p99).collect() };
        let object = json!({
            "measure": "neighbour", "quiet_settled_p99_ms": all(&self.quiet),
            "flood_settled_p99_ms": all(&self.flood), "quiet_median_ms": quiet, "flood_median_ms": flood,
            "flood_stored_p50_ms": stored.0, "flood_stored_p99_ms": stored.1, "neighbour_per_second": messages,
            "attack_per_second": rate, "server_cpus": cpu, "peak_bytes": self.peak, "not_done": self.missed,
            "came": counts_json(&self.counts),
        });
        results.add(name, &line, object, &passed);
    }
}

/// The neighbour's latency over some seconds; `None` if the neighbour did not finish.
async fn figures(arena: &Arena, seconds: u64) -> Option<Figures> {
    let arguments =
        format!("--rate {RATE} --streams 1 --size 1024 --count {} --warm-up {}", RATE * seconds, RATE);
    let report = arena.bench(&arguments, Duration::from_secs(seconds * 3 + 30)).await?;
    let latency =
        |step: &str, part: &str| Some(report["latency_microseconds"][step][part].as_f64()? / 1_000.0);
    report["complete"].as_bool().filter(|complete| *complete)?;
    Some(Figures {
        settled_p99: latency("settled", "p99")?,
        stored_p50: latency("stored", "p50")?,
        stored_p99: latency("stored", "p99")?,
        rate: report["messages_per_second"].as_f64()?,
    })
}

/// A program that uses a processor and nothing else.
struct Burner(Child);

impl Burner {
    fn start(processor: &str) -> Self {
        let mut command = Command::new("taskset");
        Self(command.args(["-c", processor, "sh", "-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

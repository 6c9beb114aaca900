//! Rounds of crashes under load, for kills and for power cuts.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use posthouse_client::Context;
use posthouse_tests::{
    checker::{Verdict, check},
    harness::{
        server::Server,
        site::{CIVIL, Site},
    },
    history::{Event, save},
    load::Load,
    powercut::{PowerCut, Unsynced},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;

/// What is done to the server, and to which binaries.
pub struct Plan<'a> {
    /// The server of each round, from 0, which is the start before the first crash.
    pub binary: &'a dyn Fn(u32) -> PathBuf,
    /// How often it crashes.
    pub rounds: u32,
    /// How a server ends.
    pub ends: Ends,
    /// Whether the power is cut, too.
    pub power: bool,
    /// Whether some of the unsynced bytes are sometimes on disk.
    pub torn: bool,
}

/// How servers end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Killed at work, or while they start.
    Kills,
    /// Killed at work, or while they start or stop.
    KillsAndHalfStops,
    /// Stopped by SIGTERM.
    Stops,
}

/// One server after another on the same data.
struct Crashes<'a> {
    plan: Plan<'a>,
    site: Site,
    cut: Option<PowerCut>,
    random: StdRng,
}

/// Runs eight producers and eight consumers while the server crashes again and again, and checks what they saw. If a
/// server does not start, returns its log.
pub async fn run(plan: Plan<'_>) -> Result<Judged, String> {
    run_beside(plan, &|_, _| tokio::spawn(async { [0; 3] })).await
}

/// Other work beside the load, until it is stopped; returns how often it did each kind.
type Beside = dyn Fn(Context, Arc<AtomicBool>) -> JoinHandle<[u64; 3]>;

/// Runs the rounds with other work beside the load.
pub async fn run_beside(plan: Plan<'_>, beside: &Beside) -> Result<Judged, String> {
    let seed = std::env::var("POSTHOUSE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed: POSTHOUSE_SEED={seed}");
    let site = Site::new();
    let cut = plan.power.then(|| PowerCut::watch(&site.state()));
    let mut crashes = Crashes { plan, site, cut, random: StdRng::seed_from_u64(seed) };

    let mut server = crashes.launch(0);
    server.ready(&crashes.site).await;
    let mut load = Load::start(crashes.site.context(CIVIL), 8, 8, seed).await;
    let stop = Arc::new(AtomicBool::new(false));
    let beside = beside(crashes.site.context(CIVIL), Arc::clone(&stop));
    for round in 1..=crashes.plan.rounds {
        let more = crashes.random.random_range(500..8_000);
        load.progress(more).await;
        load.killing();
        server = crashes.crash(server, round).await;
        server.try_ready(&crashes.site).await?;
        load.ready();
        let (acked, settled) = load.counts();
        println!("round {round}: {acked} acked, {settled} settled");
    }
    load.progress(100).await;
    stop.store(true, Ordering::Relaxed);
    println!("done beside: {:?}", beside.await.unwrap());
    let events = load.finish().await;
    let verdict = check(&events);
    println!("{verdict}");
    Ok(Judged { verdict, events, site: crashes.site, server: Some(server) })
}

/// A history, and the checker's verdict.
pub struct Judged {
    pub verdict: Verdict,
    events: Vec<Event>,
    site: Site,
    server: Option<Server>,
}

impl Judged {
    /// Stops the last server cleanly; returns its data folder.
    pub async fn stopped(&mut self) -> PathBuf {
        let mut server = self.server.take().unwrap();
        server.terminate();
        assert!(server.ended().await.success(), "{}", server.log());
        self.site.data()
    }

    /// Fails if a promise was broken, or if there was nothing to check.
    #[track_caller]
    pub fn assert_promises(mut self) {
        let verdict = &self.verdict;
        if !verdict.violations.is_empty() {
            let dir = self.site.keep();
            save(&self.events, &dir.join("history.jsonl")).unwrap();
            panic!("{verdict}see {}: history.jsonl, the logs and the data", dir.display());
        }
        assert!(verdict.acked > 500 && verdict.settled > 500 && verdict.leased_again > 0, "{verdict}");
    }
}

impl Crashes<'_> {
    fn launch(&self, round: u32) -> Server {
        Server::launch(&self.site, &(self.plan.binary)(round), self.cut.as_ref())
    }

    /// Kills the server, at work or while it stops or starts, and starts the next one.
    async fn crash(&mut self, mut server: Server, round: u32) -> Server {
        if self.plan.ends == Ends::Stops {
            server.terminate();
            assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
            return self.launch(round);
        }
        let way = self.random.random_range(0..4);
        if way == 1 && self.plan.ends == Ends::KillsAndHalfStops {
            // While it drains, flushes its store and trims its log.
            server.terminate();
            self.pause(400).await;
        }
        self.kill(&mut server, round);
        let server = self.launch(round);
        if way != 2 {
            return server;
        }
        // Again, while it still starts after the last kill.
        let mut server = server;
        self.pause(200).await;
        self.kill(&mut server, round);
        self.launch(round)
    }

    /// Waits for a random time, so that the crash hits any step.
    async fn pause(&mut self, max: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..max))).await;
    }

    fn kill(&mut self, server: &mut Server, round: u32) {
        server.kill();
        let Some(cut) = &self.cut else { return };
        let unsynced = match round % 3 {
            1 if self.plan.torn => Unsynced::Torn(self.random.random()),
            2 if self.plan.torn => Unsynced::Scattered(self.random.random()),
            _ => Unsynced::Dropped,
        };
        let lost = cut.strike(unsynced).unwrap();
        println!("power cut, {unsynced:?}: took {} files and {} bytes", lost.files, lost.bytes);
    }
}

/// The number of rounds: `POSTHOUSE_CRASH_ROUNDS`, or `few`.
pub fn rounds(few: u32) -> u32 {
    std::env::var("POSTHOUSE_CRASH_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}

//! Whether the server is up, and whether it should be sent work.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use posthouse_engine::ids::ShardId;
use tokio::sync::watch;

use crate::clock::MUCH_MS;

/// The phases of the server between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It reads its log and does not listen yet.
    Starting,
    /// It serves.
    Serving,
    /// It accepts no more work and finishes its open work.
    Draining,
}

impl Phase {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Starting, Self::Serving, Self::Draining];

    /// As a word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

/// Facts that do not make a server unready, and are shown nevertheless.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Warnings {
    /// Publishes are refused.
    pub(super) disk_full: bool,
    /// The clock had jumped at start.
    pub(super) expiry_halted: bool,
    /// How far the wall clock is ahead of the time of batches.
    pub(super) clock_ahead_ms: i64,
}

/// The facts that readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    shards: usize,
    halted: usize,
    /// Departments; they make nothing unready.
    set_aside: usize,
    /// There is no slot for another access record.
    unrecorded: bool,
}

impl State {
    fn is_ready(self) -> bool {
        // A halted shard is a fault of some departments; the others are served.
        let any_shard = self.shards == 0 || self.halted < self.shards;
        // Other nodes may have slots for records: a call here would be refused, or wait.
        self.phase == Phase::Serving && any_shard && !self.unrecorded
    }
}

/// Whether the server is up and ready, for probes and for load balancers.
#[derive(Debug)]
pub struct Readiness {
    state: watch::Sender<State>,
    /// The halted shards and their reasons.
    halted: Mutex<BTreeMap<ShardId, &'static str>>,
}

impl Default for Readiness {
    fn default() -> Self {
        let state = State { phase: Phase::Starting, shards: 0, halted: 0, set_aside: 0, unrecorded: false };
        Self { state: watch::Sender::new(state), halted: Mutex::default() }
    }
}

impl Readiness {
    /// Why a shard halts, in one word: the label of its metric, which the runbook explains.
    pub(crate) const HALT_REASONS: [&str; 8] =
        ["kv", "newer_version", "index_gap", "malformed", "invariant", "corrupt", "undecodable", "panic"];

    /// The node has this many shards.
    pub(crate) fn shards(&self, count: usize) {
        self.state.send_modify(|state| state.shards = count);
    }

    /// This many departments are set aside.
    pub(crate) fn set_aside(&self, count: usize) {
        self.state.send_modify(|state| state.set_aside = count);
    }

    /// A shard is halted, for one of [`Self::HALT_REASONS`].
    pub(crate) fn halted(&self, shard: ShardId, reason: &'static str) {
        let count = {
            let mut halted = self.lock_halted();
            halted.entry(shard).or_insert(reason);
            halted.len()
        };
        self.state.send_modify(|state| state.halted = state.halted.max(count));
    }

    /// Sets whether there is no slot for another access record.
    pub(crate) fn unrecorded(&self, unrecorded: bool) {
        self.state.send_modify(|state| state.unrecorded = unrecorded);
    }

    /// The server enters this phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.state.send_modify(|state| state.phase = phase);
    }

    /// The phase of the server.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// Whether work should be sent here.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    /// How many shards are halted, for each reason that there is.
    pub(crate) fn halted_shards(&self) -> BTreeMap<&'static str, usize> {
        let mut count = BTreeMap::new();
        for reason in self.lock_halted().values() {
            *count.entry(*reason).or_default() += 1;
        }
        count
    }

    fn lock_halted(&self) -> MutexGuard<'_, BTreeMap<ShardId, &'static str>> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state now, and then each change, until the server drains.
    pub(crate) fn changes(&self) -> Changes {
        Changes { state: self.state.subscribe(), reported: None }
    }

    /// The meaning of the probe's code for people, one fact on each line.
    pub(super) fn describe(&self, warnings: Warnings) -> String {
        let Warnings { disk_full, expiry_halted, clock_ahead_ms } = warnings;
        let state = *self.state.borrow();
        let mut text = if state.is_ready() { "ready\n".to_owned() } else { "not ready\n".to_owned() };
        let mut line = |fact: std::fmt::Arguments<'_>| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{fact}");
        };
        line(format_args!("state: {}", state.phase.as_str()));
        if state.halted > 0 {
            let reasons: Vec<String> =
                self.halted_shards().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let (halted, shards, reasons) = (state.halted, state.shards, reasons.join(", "));
            line(format_args!("shards halted: {halted} of {shards} ({reasons}); see the log"));
        }
        if state.set_aside > 0 {
            line(format_args!("departments set aside: {}; see `posthouse store check`", state.set_aside));
        }
        if state.unrecorded {
            line(format_args!(
                "access records are not taken: what is recorded is refused or waits; see the log, and what \
                 access.file names"
            ));
        }
        if disk_full {
            line(format_args!("disk nearly full: publishes are refused, consuming goes on"));
        }
        if expiry_halted {
            line(format_args!("expiry halted: the clock had jumped ahead; see --accept-clock-jump"));
        }
        if clock_ahead_ms.unsigned_abs() >= MUCH_MS {
            let (seconds, way) = (
                clock_ahead_ms.unsigned_abs() / 1_000,
                if clock_ahead_ms > 0 { "ahead of" } else { "behind" },
            );
            line(format_args!(
                "clock: the wall clock is {seconds} s {way} the time of batches; nothing expires early"
            ));
        }
        text
    }
}

/// See [`Readiness::changes`].
pub(crate) struct Changes {
    state: watch::Receiver<State>,
    reported: Option<State>,
}

impl Changes {
    /// Whether the server is ready, at first and after each change; `None` once it has reported that it drains.
    pub(crate) async fn next(&mut self) -> Option<bool> {
        let reported = self.reported;
        if reported.is_some_and(|reported| reported.phase == Phase::Draining) {
            return None;
        }
        let other = |state: &State| {
            reported.is_none_or(|reported| {
                state.is_ready() != reported.is_ready() || state.phase == Phase::Draining
            })
        };
        let state = *self.state.wait_for(other).await.ok()?;
        self.reported = Some(state);
        Some(state.is_ready())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_while_it_serves_and_any_shard_works() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.shards(2);
        readiness.enter(Phase::Serving);
        assert!(readiness.is_ready());
        readiness.halted(ShardId(1), "corrupt");
        readiness.halted(ShardId(1), "panic");
        let described = readiness.describe(Warnings::default());
        assert!(described.contains("shards halted: 1 of 2 (corrupt 1)"), "{described}");
        assert!(readiness.is_ready());
        let full = Warnings { disk_full: true, ..Warnings::default() };
        assert!(readiness.describe(full).contains("consuming goes on"));
        readiness.halted(ShardId(0), "panic");
        assert!(!readiness.is_ready());
        assert!(readiness.describe(Warnings::default()).starts_with("not ready\n"));
    }

    #[test]
    fn what_does_not_make_it_unready_is_told_all_the_same() {
        let readiness = Readiness::default();
        readiness.enter(Phase::Serving);
        let text = |clock_ahead_ms| readiness.describe(Warnings { clock_ahead_ms, ..Warnings::default() });
        assert_eq!([text(0), text(999), text(-999)], ["ready\nstate: serving\n"; 3]);
        assert!(text(3_000_500).contains("clock: the wall clock is 3000 s ahead of the time of batches"));
        assert!(text(-1_000).contains("is 1 s behind the time of batches"));
        readiness.set_aside(2);
        assert!(text(0).starts_with("ready\n") && text(0).contains("departments set aside: 2"));
    }

    #[test]
    fn it_is_not_ready_while_records_have_no_place() {
        let readiness = Readiness::default();
        readiness.enter(Phase::Serving);
        readiness.unrecorded(true);
        let text = readiness.describe(Warnings::default());
        assert!(!readiness.is_ready() && text.contains("access records are not taken"), "{text}");
        readiness.unrecorded(false);
        assert!(readiness.is_ready());
    }

    #[test]
    fn it_is_not_ready_while_it_drains() {
        let readiness = Readiness::default();
        readiness.enter(Phase::Serving);
        readiness.enter(Phase::Draining);
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn changes_are_told_once_and_end_with_the_drain() {
        let readiness = Readiness::default();
        readiness.enter(Phase::Serving);
        let mut changes = readiness.changes();
        assert_eq!(changes.next().await, Some(true));
        readiness.shards(1);
        readiness.halted(ShardId(0), "panic");
        assert_eq!(changes.next().await, Some(false));
        readiness.enter(Phase::Draining);
        assert_eq!((changes.next().await, changes.next().await), (Some(false), None));
    }
}

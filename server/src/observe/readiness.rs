//! Whether the server is up, and whether it should be sent work.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use posthouse_engine::ids::ShardId;
use tokio::sync::watch;

/// Where the server is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It reads its log and does not listen yet.
    Starting,
    /// It serves.
    Serving,
    /// It takes no more work and ends what it has.
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

/// What readiness depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    shards: usize,
    halted: usize,
}

impl State {
    fn is_ready(self) -> bool {
        // A halted shard is a fault of some departments; the others are served.
        self.phase == Phase::Serving && (self.shards == 0 || self.halted < self.shards)
    }
}

/// Whether the server is up and ready, for probes and for whoever balances load.
#[derive(Debug)]
pub struct Readiness {
    state: watch::Sender<State>,
    halted: Mutex<BTreeSet<ShardId>>,
}

impl Default for Readiness {
    fn default() -> Self {
        let state = State { phase: Phase::Starting, shards: 0, halted: 0 };
        Self { state: watch::Sender::new(state), halted: Mutex::default() }
    }
}

impl Readiness {
    /// The node has so many shards.
    pub(crate) fn shards(&self, count: usize) {
        self.state.send_modify(|state| state.shards = count);
    }

    /// A shard takes nothing more.
    pub(crate) fn halted(&self, shard: ShardId) {
        let count = {
            let mut halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
            halted.insert(shard);
            halted.len()
        };
        self.state.send_modify(|state| state.halted = state.halted.max(count));
    }

    /// The server has come to this phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.state.send_modify(|state| state.phase = phase);
    }

    /// Where the server is.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// Whether work should be sent here.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    /// How many shards are halted.
    pub(crate) fn halted_shards(&self) -> usize {
        self.state.borrow().halted
    }

    /// What it is now, and then each change, until the server drains.
    pub(crate) fn changes(&self) -> Changes {
        Changes { state: self.state.subscribe(), told: None }
    }

    /// For people: what the probe's code means, a line a fact.
    pub(super) fn describe(&self, disk_full: bool, expiry_halted: bool) -> String {
        let state = *self.state.borrow();
        let mut text = if state.is_ready() { "ready\n".to_owned() } else { "not ready\n".to_owned() };
        let mut line = |fact: std::fmt::Arguments<'_>| {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{fact}");
        };
        line(format_args!("state: {}", state.phase.as_str()));
        if state.halted > 0 {
            line(format_args!("shards halted: {} of {}; see the log", state.halted, state.shards));
        }
        if disk_full {
            line(format_args!("disk nearly full: publishes are refused, consuming goes on"));
        }
        if expiry_halted {
            line(format_args!("expiry halted: the clock had jumped ahead; see --accept-clock-jump"));
        }
        text
    }
}

/// See [`Readiness::changes`].
pub(crate) struct Changes {
    state: watch::Receiver<State>,
    told: Option<State>,
}

impl Changes {
    /// Whether the server is ready, at first and after each change; `None` once it has told that it drains.
    pub(crate) async fn next(&mut self) -> Option<bool> {
        let told = self.told;
        if told.is_some_and(|told| told.phase == Phase::Draining) {
            return None;
        }
        let other = |state: &State| {
            told.is_none_or(|told| state.is_ready() != told.is_ready() || state.phase == Phase::Draining)
        };
        let state = *self.state.wait_for(other).await.ok()?;
        self.told = Some(state);
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
        readiness.halted(ShardId(1));
        readiness.halted(ShardId(1));
        assert!(readiness.is_ready());
        assert!(readiness.describe(true, false).contains("consuming goes on"));
        readiness.halted(ShardId(0));
        assert!(!readiness.is_ready());
        assert!(readiness.describe(false, false).starts_with("not ready\n"));
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
        readiness.halted(ShardId(0));
        assert_eq!(changes.next().await, Some(false));
        readiness.enter(Phase::Draining);
        assert_eq!((changes.next().await, changes.next().await), (Some(false), None));
    }
}

//! The counts of an attack.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// The number of reasons that are counted apart.
const MAX_ENDS: usize = 24;

/// The counts of a running attack.
#[derive(Debug, Default)]
pub struct Tally {
    done: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    connections: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    resets: AtomicU64,
    ends: Mutex<BTreeMap<String, u64>>,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// What the attack is made of: frames, calls, handshakes or connections.
    pub done: u64,
    /// HTTP/2 bytes sent.
    pub sent: u64,
    /// HTTP/2 bytes received.
    pub received: u64,
    /// Connections that were established.
    pub connections: u64,
    /// Calls that were answered with more than a status.
    pub answered: u64,
    /// Calls that were answered with a status only.
    pub refused: u64,
    /// Streams that the server reset.
    pub resets: u64,
    /// Connections that ended, by the server's reason.
    pub ends: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts further frames, calls, handshakes or connections.
    pub fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, why: &str) {
        let mut ends = self.ends.lock().unwrap();
        let why = if ends.len() < MAX_ENDS || ends.contains_key(why) { why } else { "another" };
        *ends.entry(why.to_owned()).or_default() += 1;
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            done: read(&self.done),
            sent: read(&self.sent),
            received: read(&self.received),
            connections: read(&self.connections),
            answered: read(&self.answered),
            refused: read(&self.refused),
            resets: read(&self.resets),
            ends: self.ends.lock().unwrap().clone(),
        }
    }
}

impl Counts {
    /// The most frequent reasons why connections ended.
    pub fn ends(&self) -> String {
        let mut ends: Vec<_> = self.ends.iter().collect();
        ends.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let ends: Vec<_> = ends.iter().take(3).map(|(why, count)| format!("{count}x {why}")).collect();
        ends.join("; ")
    }
}

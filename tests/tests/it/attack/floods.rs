//! Connections that flood are closed, or served fairly beside others.

use posthouse_tests::{
    attack::{Kind, all},
    harness::eventually,
};

use super::{MOMENT, Ring, named};

/// Attacking connections.
const CONNECTIONS: usize = 2;
/// The most memory that a server may use under a flood.
const MAX_MEMORY: u64 = 640 << 20;

/// Frames that close their connection.
const CLOSED: &[&str] = &[
    "ping",
    "settings",
    "window-update",
    "priority",
    "idle-resets",
    "unknown-frames",
    "rapid-reset",
    "rapid-reset-token",
    "continuation",
    "continuation-empty",
    "empty-data",
    "hpack-bomb",
    "random-frames",
    "forged-eddsa",
    "forged-ps256",
    "forged-eddsa-health",
    "forged-ps256-health",
];
/// Floods that are served, and cost others no more than their fair share.
const SERVED: &[&str] = &[
    "padded-data",
    "client-hello",
    "handshake-no-certificate",
    "handshake",
    "unknown-method",
    "get-queue",
    "large-publishes-8",
    "large-publishes-32",
    "list-queues",
    "waiting-receives",
    "consumers",
    "producer-sessions",
    "random-bodies",
];

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_flood_are_closed() {
    let mut ring = Ring::start().await;
    for name in CLOSED {
        let (counts, peak) = ring.endure(named(name), CONNECTIONS, MOMENT).await;
        assert!(peak < MAX_MEMORY, "{name}: {} MiB", peak >> 20);
        if counts.ends.is_empty() {
            closed(&ring, name).await;
        }
        ring.sound();
    }
}

/// On a busy machine a flood may be too slow to be noticed within a moment.
async fn closed(ring: &Ring, name: &str) {
    let target = ring.target.afresh();
    let _running = posthouse_tests::attack::begin(named(name), &target, CONNECTIONS);
    let closed = || async { (!target.tally.counts().ends.is_empty()).then_some(()) };
    eventually(&format!("an end of a connection of {name}"), closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_a_flood_are_served() {
    let mut ring = Ring::start().await;
    for name in SERVED {
        let (_, peak) = ring.endure(named(name), CONNECTIONS, MOMENT).await;
        assert!(peak < MAX_MEMORY, "{name}: {} MiB", peak >> 20);
        ring.sound();
    }
}

#[test]
fn every_flood_is_endured() {
    let mut endured = [CLOSED, SERVED].concat();
    let mut known: Vec<_> =
        all().filter(|attack| attack.kind == Kind::Flood).map(|attack| attack.name).collect();
    endured.sort_unstable();
    known.sort_unstable();
    assert_eq!(endured, known);
}

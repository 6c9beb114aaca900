//! Unfinished requests and unread answers hold a bounded amount of memory.

use std::time::Duration;

use posthouse_tests::{
    attack::{Kind, all},
    harness::{eventually, process},
};

use super::{MOMENT, Ring, named};

/// The most memory that a server may use: about 270 MiB under full load, and 256 MiB.
const MAX_MEMORY: u64 = 526 << 20;
/// The most memory that it may keep afterwards: caches, and the allocator's fragmentation.
const MAX_RETAINED: u64 = 330 << 20;
/// Attacking connections.
const CONNECTIONS: usize = 2;

const BODIES: &[&str] = &[
    "health-bodies",
    "publish-bodies",
    "publish-stream-bodies",
    "settle-bodies",
    "consume-bodies",
    "create-queue-bodies",
    "declared",
    "dribbled",
    "dribbled-stream",
    "unended",
];
const STREAMS: &[&str] = &["before-open", "large-headers", "health-watches", "tiny-data", "small-data"];
const ELEMENTS: &[&str] = &[
    "empty-messages",
    "empty-stream-messages",
    "empty-settlements",
    "empty-stream-settlements",
    "empty-tokens",
    "empty-stream-tokens",
    "attributes",
    "repeated-batches",
    "repeated-settlements",
    "nested",
    "unknown-fields",
    "groups",
];
const ANSWERS: &[&str] = &[
    "settle-errors-20",
    "settle-errors-100",
    "settle-errors-window-1",
    "publish-errors-20",
    "publish-errors-100",
    "receive-answers",
    "receive-answers-window-1",
    "queue-lists",
    "queue-lists-window-1",
    "dead-letter-lists",
    "dead-letter-lists-window-1",
    "stalled-consumers",
    "pongs",
    "health-answers",
];

async fn endure(names: &[&str], moment: Duration) {
    let mut ring = Ring::start().await;
    let mut passed = Vec::new();
    for name in names {
        let (_, peak) = ring.endure(named(name), CONNECTIONS, moment).await;
        if peak > MAX_MEMORY {
            passed.push(format!("{name}: {} MiB", peak >> 20));
        }
        let pid = ring.pid();
        let released = || async { process::memory(pid).filter(|now| *now <= MAX_RETAINED) };
        eventually(&format!("the release of {name}"), released).await;
        ring.sound();
    }
    assert!(passed.is_empty(), "more than {} MiB: {passed:?}", MAX_MEMORY >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_end_are_held_within_a_bound() {
    endure(BODIES, 2 * MOMENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_say_little_are_held_within_a_bound() {
    endure(STREAMS, MOMENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_are_counted_before_there_are_millions_of_them() {
    endure(ELEMENTS, MOMENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_held_within_a_bound() {
    endure(ANSWERS, MOMENT).await;
}

#[test]
fn every_hold_is_endured() {
    let endured = [BODIES, STREAMS, ELEMENTS, ANSWERS].concat();
    let known: Vec<_> = all().filter(|attack| attack.kind == Kind::Hold).map(|attack| attack.name).collect();
    assert_eq!(endured, known);
}

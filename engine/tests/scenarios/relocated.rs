//! Relocation by bytes: unsettled messages do not keep settled ones from being trimmed.

use std::collections::BTreeSet;

use bytes::Bytes;
use posthouse_engine::{
    ids::{DEFAULT_LANE, QueueRef},
    keys::{self, Key, RelocatedBodyKey},
    kv::{Family, Kv, Write},
    limits::{
        EXAMINE_AGAIN_AFTER, MACHINE_VERSION, MAX_RELOCATED, MAX_RELOCATED_BYTES, RELOCATE_FROM_BYTES,
        TRIM_BYTES,
    },
    outcome::{Granted, Outcome, RedriveOutcome},
    schema::{
        Batch, Command, CommandRecord, Grant, Publish, PublishEntry, PurgeQueue, QueueSettings, Settle,
        SettleKind::{self, Ack, DeadLetter},
    },
};

use crate::shard::{Shard, answer, default, holder, item, publish, settings, token};

const KIB: usize = 1 << 10;
const LARGE: usize = 256 * KIB;
/// The most bytes of settled messages that a queue keeps: up to an examination, up to the next one, up to a trim.
const MAX_DEAD: u64 =
    RELOCATE_FROM_BYTES + (EXAMINE_AGAIN_AFTER + 2) * (LARGE as u64 + 100) + TRIM_BYTES + MAX_RELOCATED_BYTES;

/// A shard, and the messages that its batches have relocated.
struct Watched {
    shard: Shard,
    queue: QueueRef,
    copied: BTreeSet<u64>,
    max_stored: u64,
}

impl Watched {
    fn new(settings: QueueSettings) -> Self {
        let (shard, queue) = Shard::with(settings);
        Self { shard, queue, copied: BTreeSet::new(), max_stored: 0 }
    }

    fn run(&mut self, command: Command) -> Outcome {
        let commands = vec![CommandRecord { command: Some(command) }];
        let now_ms = self.shard.now;
        let batch = Batch { machine_version: MACHINE_VERSION, now_ms, commands, ..Batch::default() };
        let index = self.shard.machine.applied_index() + 1;
        let mut applied = self.shard.machine.apply(&self.shard.kv, index, batch).unwrap();
        let (mut copies, mut bytes) = (0, 0);
        for write in &applied.writes {
            if let Write::Put { family: Family::Body, key, head, tail } = write
                && let Some(key) = RelocatedBodyKey::decode(key)
            {
                assert!(self.copied.insert(key.sequence), "{} is copied twice", key.sequence);
                copies += 1;
                bytes += (head.len() + tail.len()) as u64;
            }
        }
        assert!(copies <= MAX_RELOCATED && bytes <= MAX_RELOCATED_BYTES, "{copies} copies of {bytes} bytes");
        self.shard.kv.write(&applied.writes);
        self.max_stored = self.max_stored.max(self.stored());
        applied.outcomes.pop().unwrap()
    }

    /// Publishes messages of these sizes. Returns the first sequence.
    fn publish(&mut self, sizes: &[usize]) -> u64 {
        let entry = |size: &usize| PublishEntry {
            content: Bytes::from(vec![7; *size]),
            payload_bytes: u32::try_from(*size).unwrap(),
            ..PublishEntry::default()
        };
        let entries = sizes.iter().map(entry).collect();
        self.run(Command::Publish(Publish { entries, ..publish(self.queue, &[]) }));
        self.shard.counts(self.queue).last_sequence + 1 - sizes.len() as u64
    }

    fn lease(&mut self, who: &str, sequences: &[u64]) -> Granted {
        let grant = Grant {
            department: 1,
            queue: self.queue.queue.0,
            subscription: 1,
            holder: Some(holder(who)),
            sequences: sequences.to_vec(),
            duration_ms: 600_000,
            ..Grant::default()
        };
        let granted = answer!(self.run(Command::Grant(grant)), Grant).unwrap();
        assert_eq!(granted.items.len(), sequences.len());
        granted
    }

    fn settle(&mut self, who: &str, granted: &Granted, kind: SettleKind) {
        let items = (0..granted.items.len()).map(|index| item(token(granted, index), kind, 0)).collect();
        let (queue, holder) = (self.queue.queue.0, Some(holder(who)));
        let settle = Settle { department: 1, queue, subscription: 1, holder, items };
        answer!(self.run(Command::Settle(settle)), Settle).unwrap();
    }

    fn ack(&mut self, sequences: &[u64]) {
        let granted = self.lease("a", sequences);
        self.settle("a", &granted, Ack);
    }

    /// Publishes and acks messages, one by one.
    fn work_off(&mut self, count: usize, size: usize) {
        for _ in 0..count {
            let sequence = self.publish(&[size]);
            self.ack(&[sequence]);
        }
    }

    fn stored(&mut self) -> u64 {
        self.shard.stats(self.queue).stored_bytes
    }

    fn relocated(&self) -> usize {
        let mut rows = self.shard.kv.rows();
        let mut count = 0;
        while rows.any(|(family, key, _)| family == Family::Body && RelocatedBodyKey::decode(key).is_some()) {
            count += 1;
        }
        count
    }
}

#[test]
fn one_parked_message_does_not_hold_the_large_ones_behind_it() {
    let mut watched = Watched::new(settings(1, ""));
    watched.publish(&[KIB]);
    let granted = watched.lease("a", &[1]);
    watched.settle("a", &granted, DeadLetter);
    for _ in 0..8 {
        watched.work_off(97, LARGE);
        watched.shard.restart();
        watched.shard.check();
    }
    println!("194 MiB settled behind 1 KiB, at most {} bytes stored", watched.max_stored);
    assert!(watched.max_stored < MAX_DEAD, "{}", watched.max_stored);
    assert_eq!(watched.copied, BTreeSet::from([1]));
    assert!(watched.shard.body(watched.queue, 1).is_none());
    let key = keys::relocated(default(watched.queue), DEFAULT_LANE, 1);
    let copy = watched.shard.kv.get(Family::Body, &key).unwrap().unwrap();
    let queue = watched.queue;
    assert_eq!(watched.shard.dead_letters(queue), [1]);
    assert_eq!(watched.shard.status(queue, 1).payload_bytes, Some(1_024));

    let before = watched.stored();
    assert_eq!(watched.shard.redrive(queue, &[1]), [RedriveOutcome::Freed]);
    assert_eq!(watched.shard.free(queue), [1]);
    watched.ack(&[1]);
    watched.shard.check();
    assert!(watched.stored() <= before - copy.len() as u64);
    assert!(watched.stored() < TRIM_BYTES, "nothing is left to hold anything up");
    assert_eq!((watched.relocated(), watched.shard.usage().stored_bytes), (0, watched.stored()));
}

#[test]
fn many_that_wait_are_copied_over_several_batches_and_live_on() {
    let mut watched = Watched::new(QueueSettings::default());
    // Far more than may be left in a chunk, and more than a batch relocates.
    let mut held = Vec::new();
    for _ in 0..60 {
        let first = watched.publish(&[100; 100]);
        held.push(watched.lease("b", &(first..first + 100).collect::<Vec<_>>()));
        watched.work_off(12, LARGE);
    }
    watched.shard.check();
    println!("{} copied, at most {} bytes stored", watched.copied.len(), watched.max_stored);
    assert!(watched.copied.len() > MAX_RELOCATED);
    assert!(watched.max_stored < MAX_DEAD, "{}", watched.max_stored);
    assert_eq!(watched.relocated(), watched.copied.len());
    watched.shard.restart();
    let queue = watched.queue;
    assert_eq!(watched.shard.counts(queue).in_flight, 6_000);

    // Some messages are acked, the others are returned.
    for granted in &held[..40] {
        watched.settle("b", granted, Ack);
    }
    watched.shard.check();
    assert_eq!(watched.shard.release(queue, &holder("b")), 2_000);
    let mut left = Vec::new();
    while left.len() < 2_000 {
        let from = left.last().map_or(0, |last| last + 1);
        left.extend(
            watched.shard.machine.free_from(&watched.shard.kv, default(queue), from, 99).unwrap().sequences,
        );
    }
    for some in left.chunks(100) {
        watched.ack(some);
    }
    watched.shard.check();
    assert_eq!(watched.relocated(), 0);
    assert!(watched.stored() < TRIM_BYTES, "{}", watched.stored());
}

#[test]
fn large_ones_that_wait_are_copied_in_pieces_once_it_is_worth_it() {
    let mut watched = Watched::new(QueueSettings::default());
    let mut held = Vec::new();
    for _ in 0..25 {
        let first = watched.publish(&[LARGE; 4]);
        held.push(watched.lease("b", &(first..first + 4).collect::<Vec<_>>()));
    }
    // 25 MiB are unsettled: relocation is worth it when four times as much is settled.
    watched.work_off(396, LARGE);
    assert_eq!(watched.copied.len(), 0);
    while watched.copied.is_empty() {
        watched.work_off(1, LARGE);
        assert!(watched.stored() < 5 * 100 * (LARGE as u64 + 100) + MAX_DEAD);
    }
    let first = watched.copied.len();
    watched.shard.restart();
    watched.shard.check();
    watched.publish(&[1]);
    println!("{first} copied first, {} at last", watched.copied.len());
    assert!(first < 64 && watched.copied.len() == 100, "{first}, {}", watched.copied.len());
    watched.shard.check();
    assert!(watched.stored() < 100 * (LARGE as u64 + 100) + MAX_DEAD);
    for granted in &held {
        watched.settle("b", granted, Ack);
    }
    watched.shard.check();
    assert_eq!(watched.relocated(), 0);
    assert!(watched.stored() < TRIM_BYTES + LARGE as u64, "{}", watched.stored());
}

#[test]
fn nothing_is_copied_that_frees_too_little() {
    let mut watched = Watched::new(QueueSettings::default());
    for _ in 0..300 {
        let first = watched.publish(&[LARGE / 3, LARGE]);
        watched.lease("b", &[first]);
        watched.ack(&[first + 1]);
    }
    watched.shard.check();
    assert_eq!(watched.copied.len(), 0);
}

#[test]
fn a_purge_takes_what_was_copied_too() {
    let mut watched = Watched::new(QueueSettings::default());
    watched.publish(&[KIB; 3]);
    watched.lease("b", &[1, 2]);
    watched.work_off(400, LARGE);
    assert_eq!((watched.copied.len(), watched.relocated()), (3, 3));
    watched.run(Command::PurgeQueue(PurgeQueue {
        department: 1,
        name: "applications".into(),
        request: None,
    }));
    watched.shard.check();
    assert_eq!((watched.relocated(), watched.stored()), (0, 0));
    watched.publish(&[KIB]);
    watched.work_off(400, LARGE);
    watched.shard.check();
    watched.shard.restart();
    watched.work_off(1, LARGE);
    watched.shard.check();
    assert_eq!((watched.copied.len(), watched.relocated()), (4, 1));
}

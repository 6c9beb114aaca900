//! The floor, and the few unsettled messages that stay behind it.

use bytes::Bytes;
use posthouse_engine::{
    ids::{DEFAULT_LANE, QueueRef},
    keys::{self, EntryKey, Key},
    kv::{Family, Kv},
    limits::{CHUNK, PASS_AFTER_CHUNKS, STRIDE},
    schema::{
        Command, Publish, PublishEntry, PurgeQueue, QueueSettings, SettleItem,
        SettleKind::{self, Ack, DeadLetter, Nack},
    },
};

use crate::shard::{Shard, default, holder, item, settings, token};

/// Publishes messages, and acks all but these.
fn work_off(shard: &mut Shard, queue: QueueRef, count: u64, per_publish: u64, leave: &[u64]) {
    let first = shard.counts(queue).last_sequence + 1;
    let count = count / per_publish * per_publish;
    for _ in 0..count / per_publish {
        let entry =
            PublishEntry { content: Bytes::from_static(b"x"), payload_bytes: 1, ..PublishEntry::default() };
        let entries = vec![entry; usize::try_from(per_publish).unwrap()];
        shard.run(Command::Publish(Publish {
            department: 1,
            queue: queue.queue.0,
            entries,
            ..Publish::default()
        }));
    }
    let sequences: Vec<u64> = (first..first + count).filter(|sequence| !leave.contains(sequence)).collect();
    for some in sequences.chunks(1_024) {
        let granted = shard.grant(queue, &holder("a"), some, 5_000);
        let items: Vec<SettleItem> =
            (0..some.len()).map(|index| item(token(&granted, index), Ack, 0)).collect();
        shard.settle_all(queue, &holder("a"), items);
    }
}

fn settle_one(shard: &mut Shard, queue: QueueRef, sequence: u64, kind: SettleKind) {
    let granted = shard.grant(queue, &holder("a"), &[sequence], 5_000);
    assert_eq!(granted.items.len(), 1);
    shard.settle(queue, &holder("a"), token(&granted, 0), kind);
}

#[test]
fn what_is_worked_off_is_trimmed_in_strides() {
    for per_publish in [1, 64, 1_000, 1_024] {
        let (mut shard, queue) = Shard::with(QueueSettings::default());
        shard.checked = false;
        work_off(&mut shard, queue, 2 * STRIDE - 1_100, per_publish, &[]);
        shard.check();
        let first = shard.kv.range(Family::Entry, &[], &[255; 20], 1).unwrap();
        let first = EntryKey::decode(&first[0].0).unwrap().first_sequence;
        assert!((STRIDE + 1..STRIDE + 2_048).contains(&first), "{first}, {per_publish} per publish");
        assert_eq!((first - 1) % per_publish, 0, "whole publishes go");
        let left = shard.counts(queue).last_sequence + 1 - first;
        assert_eq!(shard.rows(Family::Body) as u64, left, "{per_publish} per publish");
        shard.restart();
        assert_eq!(shard.free(queue), []);
    }
}

#[test]
fn stragglers_are_relocated_and_live_on() {
    let mut shard = Shard::new();
    shard.checked = false;
    let dead = shard.create("dead", settings(0, ""));
    let queue = shard.create("applications", settings(3, "dead"));
    let leave = [1, 2, 3, CHUNK - 1, CHUNK + 5];
    let count = (PASS_AFTER_CHUNKS + 4) * CHUNK;
    work_off(&mut shard, queue, count, 1_024, &leave);
    shard.check();
    assert!(shard.body(queue, 1).is_none());
    assert!(shard.rows(Family::Body) < 2 * STRIDE as usize);
    assert!(shard.kv.get(Family::Body, &keys::relocated(default(queue), DEFAULT_LANE, 1)).unwrap().is_some());
    for restarted in [false, true] {
        if restarted {
            shard.restart();
        }
        assert_eq!(shard.free(queue), leave);
        assert_eq!(shard.counts(queue).ready, 5);
        let page = shard.machine.free_from(&shard.kv, default(queue), 2, 2).unwrap();
        assert_eq!((page.sequences, page.next), (vec![2, 3], CHUNK - 1));
    }
    assert_eq!(shard.machine.entry_at(&shard.kv, queue, 1).unwrap(), None);

    settle_one(&mut shard, queue, 1, Ack);
    settle_one(&mut shard, queue, 2, Nack);
    settle_one(&mut shard, queue, 3, DeadLetter);
    shard.check();
    assert_eq!(shard.free(queue), [2, CHUNK - 1, CHUNK + 5]);
    assert_eq!(&shard.body(dead, 1).unwrap().1[..], b"x");
    let granted = shard.grant(queue, &holder("a"), &[2, CHUNK - 1, CHUNK + 5], 5_000);
    assert_eq!(granted.items[0].attempt, 2);
    let items = (0..3).map(|index| item(token(&granted, index), Ack, 0)).collect();
    shard.settle_all(queue, &holder("a"), items);
    shard.check();
    assert_eq!(shard.counts(queue).ready, 0);
}

#[test]
fn a_floor_that_jumps_over_many_publishes_takes_them_all() {
    for per_publish in [1, 3, 1_000] {
        let (mut shard, queue) = Shard::with(QueueSettings::default());
        shard.checked = false;
        // These are too many to be relocated: the floor stays.
        let leave: Vec<u64> = (1..=300).collect();
        work_off(&mut shard, queue, (PASS_AFTER_CHUNKS + 2) * CHUNK, per_publish, &leave);
        let next = shard.counts(queue).last_sequence + 1;
        assert_eq!(shard.rows(Family::Body) as u64, next - 1, "{per_publish} per publish");
        shard.restart();
        let granted = shard.grant(queue, &holder("a"), &leave, 5_000);
        let items = (0..leave.len()).map(|index| item(token(&granted, index), Ack, 0)).collect();
        shard.settle_all(queue, &holder("a"), items);
        shard.check();
        assert_eq!((shard.rows(Family::Body), shard.stats(queue).stored_bytes), (0, 0));
    }
}

#[test]
fn a_purge_takes_the_stragglers_too() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.checked = false;
    work_off(&mut shard, queue, (PASS_AFTER_CHUNKS + 2) * CHUNK, 1_024, &[7]);
    assert_eq!(shard.free(queue), [7]);
    shard.run(Command::PurgeQueue(PurgeQueue { department: 1, name: "applications".into(), request: None }));
    shard.check();
    assert_eq!((shard.free(queue), shard.rows(Family::Body)), (vec![], 0));
    work_off(&mut shard, queue, 2 * STRIDE, 1_024, &[]);
    shard.check();
    shard.restart();
    assert_eq!(shard.free(queue), []);
}

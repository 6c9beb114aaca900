//! Trims: large messages do not stay for long, and small ones are not trimmed one by one.

use bytes::Bytes;
use posthouse_engine::{
    kv::Write,
    limits::{MACHINE_VERSION, STRIDE, TRIM_BYTES},
    outcome::Outcome,
    schema::{
        Batch, Command, CommandRecord, Grant, Publish, PublishEntry, QueueSettings, Settle, SettleKind,
    },
};

use crate::shard::{Shard, answer, holder, item, publish, token};

struct Trims {
    range_deletes: u64,
    max_dead_bytes: u64,
    bytes_left: u64,
}

/// Publishes messages of a size, and acks each in turn.
fn work_off(count: u64, size: usize) -> Trims {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    let content = Bytes::from(vec![7; size]);
    let entry =
        PublishEntry { content, payload_bytes: u32::try_from(size).unwrap(), ..PublishEntry::default() };
    let mut trims = Trims { range_deletes: 0, max_dead_bytes: 0, bytes_left: 0 };
    let mut run = |shard: &mut Shard, command| {
        let commands = vec![CommandRecord { command: Some(command) }];
        let batch =
            Batch { machine_version: MACHINE_VERSION, now_ms: shard.now, commands, ..Batch::default() };
        let index = shard.machine.applied_index() + 1;
        let mut applied = shard.machine.apply(&shard.kv, index, batch).unwrap();
        shard.kv.write(&applied.writes);
        let ranges = applied.writes.iter().filter(|write| matches!(write, Write::DeleteRange { .. }));
        trims.range_deletes += ranges.count() as u64;
        trims.max_dead_bytes = trims.max_dead_bytes.max(shard.stats(queue).stored_bytes);
        applied.outcomes.pop().unwrap()
    };
    let (department, subscription, who) = (1, 1, Some(holder("a")));
    for sequence in 1..=count {
        run(&mut shard, Command::Publish(Publish { entries: vec![entry.clone()], ..publish(queue, &[]) }));
        let grant = Grant {
            department,
            queue: queue.queue.0,
            subscription,
            holder: who.clone(),
            sequences: vec![sequence],
            duration_ms: 5_000,
            ..Grant::default()
        };
        let granted = answer!(run(&mut shard, Command::Grant(grant)), Grant).unwrap();
        let items = vec![item(token(&granted, 0), SettleKind::Ack, 0)];
        let holder = who.clone();
        run(
            &mut shard,
            Command::Settle(Settle { department, queue: queue.queue.0, subscription, holder, items }),
        );
    }
    shard.check();
    trims.bytes_left = shard.stats(queue).stored_bytes;
    assert_eq!(shard.usage().stored_bytes, trims.bytes_left);
    trims
}

#[test]
fn messages_of_a_mebibyte_go_by_four() {
    let trims = work_off(40, 1 << 20);
    println!("1 MiB: {} range deletes for 40 messages", trims.range_deletes);
    // Bodies and entries: two range deletes for four messages.
    assert_eq!(trims.range_deletes, 20);
    assert!(trims.max_dead_bytes < TRIM_BYTES + 2 * (1 << 20), "{}", trims.max_dead_bytes);
    assert_eq!(trims.bytes_left, 0);
}

#[test]
fn messages_of_a_kibibyte_go_by_thousands() {
    let trims = work_off(9_000, 1 << 10);
    println!("1 KiB: {} range deletes for 9,000 messages", trims.range_deletes);
    assert_eq!(trims.range_deletes, 2 * (9_000 / (TRIM_BYTES / 1_035)));
    assert!(trims.bytes_left < TRIM_BYTES);
}

#[test]
fn small_messages_go_by_strides() {
    let trims = work_off(STRIDE + 10, 10);
    println!("10 bytes: {} range deletes for {} messages", trims.range_deletes, STRIDE + 10);
    assert_eq!(trims.range_deletes, 2);
}

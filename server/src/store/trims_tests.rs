//! Trimmed bodies stay deleted, and their neighbours stay, whatever is flushed, compacted or cut off by a crash.

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_engine::{
    ids::{DEFAULT_LANE, DepartmentId, QueueId, QueueRef},
    keys,
    kv::{Family, Kv, MemKv, Write},
};
use proptest::prelude::*;

use super::{
    Amount, Store, StoreError,
    conformance_tests::small,
    trims::{Trims, split},
};

fn queue(number: u8) -> QueueRef {
    QueueRef { department: DepartmentId(1), queue: QueueId(number.into()) }
}

fn key(number: u8, sequence: u64) -> Vec<u8> {
    keys::body(queue(number), DEFAULT_LANE, sequence)
}

fn body(number: u8, sequence: u64) -> Write {
    let fill = sequence.to_le_bytes()[0];
    Write::Put {
        family: Family::Body,
        key: key(number, sequence),
        head: vec![fill; 3_000].into(),
        tail: Bytes::new(),
    }
}

fn deletes(from: Vec<u8>, to: Vec<u8>) -> Write {
    Write::DeleteRange { family: Family::Body, from, to }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(u8, u64),
    /// A number of sequences, from the first that is not trimmed.
    Trim(u8, u64),
    Delete(u8),
    Flush,
    Compact,
    FlushAndCompact,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u8, 1..60_u64).prop_map(|(queue, count)| Step::Publish(queue, count)),
        6 => (0..3_u8, 1..80_u64).prop_map(|(queue, count)| Step::Trim(queue, count)),
        1 => (0..3_u8).prop_map(Step::Delete),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::FlushAndCompact),
        1 => Just(Step::Reopen),
    ]
}

/// The next sequence of a queue, and its first that is not trimmed.
type Lines = BTreeMap<u8, (u64, u64)>;

fn line(lines: &mut Lines, queue: u8) -> &mut (u64, u64) {
    lines.entry(queue).or_insert((1, 1))
}

fn writes(step: &Step, lines: &mut Lines) -> Vec<Write> {
    match *step {
        Step::Publish(queue, count) => {
            let (next, _) = line(lines, queue);
            let from = *next;
            *next += count;
            (from..*next).map(|sequence| body(queue, sequence)).collect()
        }
        Step::Trim(queue, count) => {
            let (next, first) = line(lines, queue);
            let from = *first;
            *first = (from + count).min(*next);
            vec![deletes(key(queue, from), key(queue, *first))]
        }
        Step::Delete(number) => {
            let prefix = keys::queue_prefix(queue(number));
            vec![deletes(prefix.clone(), keys::after(&prefix))]
        }
        Step::Flush | Step::Compact | Step::FlushAndCompact | Step::Reopen => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_hides_exactly_what_was_deleted(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &small()).unwrap();
        let (mut model, mut lines) = (MemKv::default(), Lines::new());
        for step in &steps {
            let writes = writes(step, &mut lines);
            let sound = |write: &&Write| !matches!(write, Write::DeleteRange { from, to, .. } if from >= to);
            store.write(&writes).unwrap();
            model.write(&writes.iter().filter(sound).cloned().collect::<Vec<_>>());
            match step {
                Step::Flush => store.flush().unwrap(),
                Step::Compact => compact_bodies(&store),
                Step::FlushAndCompact => {
                    store.flush().unwrap();
                    compact_bodies(&store);
                }
                Step::Reopen => {
                    store.flush().unwrap();
                    drop(store);
                    store = Store::open(dir.path(), &small()).unwrap();
                }
                _ => {}
            }
            let found = store.range(Family::Body, &[], &[0xFF; 9], usize::MAX).unwrap();
            prop_assert!(found == model.range(Family::Body, &[], &[0xFF; 9], usize::MAX).unwrap(), "after {step:?}");
        }
        for (number, (next, _)) in lines {
            let keys: Vec<_> = (1..next).map(|sequence| key(number, sequence)).collect();
            let expected: Vec<_> = keys.iter().map(|key| model.get(Family::Body, key).unwrap()).collect();
            let sequences: Vec<_> = (1..next).collect();
            let found = store.bodies(queue(number), DEFAULT_LANE, &sequences, Amount::ALL).unwrap();
            prop_assert!(found == expected);
            for key in &keys {
                prop_assert!(store.get(Family::Body, key).unwrap() == model.get(Family::Body, key).unwrap());
                let last = |kv: &dyn Kv| kv.last(Family::Body, &[], key).unwrap();
                prop_assert!(last(&store) == last(&model));
            }
        }
    }
}

/// Compacts all bodies, and waits for it.
fn compact_bodies(store: &Store) {
    let family = store.family(Family::Body).unwrap();
    let mut wait = rocksdb::CompactOptions::default();
    wait.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
    store.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &wait);
}

/// Deletions in the files of bodies, point and range.
fn tombstones(store: &Store) -> u64 {
    let files = store.db.live_files().unwrap();
    files
        .iter()
        .filter(|file| file.column_family_name == Family::Body.name())
        .map(|file| file.num_deletions)
        .sum()
}

/// Rows of bodies in the files, hidden ones too.
fn rows(store: &Store) -> usize {
    let mut count = 0;
    store.scan(Family::Body, &mut |_| count += 1).unwrap();
    count
}

/// Two queues' bodies side by side, nearly all of them trimmed long after they were written.
fn trimmed() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    for sequence in 1..=1_000 {
        store.write(&[body(1, sequence), body(2, sequence)]).unwrap();
    }
    store.flush().unwrap();
    compact_bodies(&store);
    for sequence in 1_001..=1_500 {
        store.write(&[body(3, sequence)]).unwrap();
    }
    assert_eq!(rows(&store), 2_500);
    store.write(&[deletes(key(1, 1), key(1, 990)), deletes(key(2, 1), key(2, 990))]).unwrap();
    (dir, store)
}

#[test]
fn compaction_leaves_out_what_was_trimmed_once_that_is_flushed() {
    let (_dir, store) = trimmed();
    compact_bodies(&store);
    assert_eq!(rows(&store), 2_500, "a replay would read them again");
    store.flush().unwrap();
    compact_bodies(&store);
    assert_eq!(rows(&store), 522);
}

#[test]
fn a_trim_of_old_bodies_leaves_no_tombstone() {
    let (dir, store) = trimmed();
    store.flush().unwrap();
    let deletions = tombstones(&store);
    assert_eq!(deletions, 0);
    drop(store);
    let store = Store::open(dir.path(), &small()).unwrap();
    assert_eq!(store.get(Family::Body, &key(1, 989)).unwrap(), None);
    assert!(store.get(Family::Body, &key(1, 990)).unwrap().is_some());
}

#[test]
fn a_body_below_the_trim_is_refused_and_changes_nothing() {
    let (_dir, store) = trimmed();
    assert!(matches!(store.write(&[body(2, 2_000), body(1, 5)]), Err(StoreError::BelowTrim)));
    assert!(matches!(store.write(&[body(2, 2_000), body(1, 989)]), Err(StoreError::BelowTrim)));
    assert_eq!(store.get(Family::Body, &key(2, 2_000)).unwrap(), None);
    store.write(&[body(1, 1_001)]).unwrap();
}

#[test]
fn a_flush_that_overtakes_a_write_makes_nothing_of_it_durable() {
    let trims = Trims::default();
    let (from, to) = (key(1, 1), key(1, 100));
    let (line, _) = split(&from).unwrap();
    let trim = trims.plan(&from, &to, |_| None).unwrap().unwrap();
    assert_eq!(trims.to_flush(), []);
    assert!(!trims.hides(&key(1, 50)));
    trims.done(&trim);
    assert!(trims.hides(&key(1, 50)));
    assert!(trims.droppable(line).is_empty());
    let overtaken = trims.to_flush();
    trims.done(&trims.plan(&to, &key(1, 200), |_| None).unwrap().unwrap());
    trims.flushed(&overtaken);
    assert_eq!(trims.droppable(line), 0..100);
    trims.flushed(&trims.to_flush());
    assert_eq!(trims.droppable(line), 0..200);
}

#[test]
fn what_a_flush_that_failed_had_taken_is_taken_by_the_next() {
    let trims = Trims::default();
    trims.done(&trims.plan(&key(1, 1), &key(1, 100), |_| None).unwrap().unwrap());
    let pending = trims.to_flush();
    assert_eq!(trims.to_flush(), []);
    trims.not_flushed(pending.clone());
    assert_eq!(trims.to_flush(), pending);
}

#[test]
fn ranges_that_are_no_trim_are_left_alone() {
    let trims = Trims::default();
    let prefix = keys::queue_prefix(queue(1));
    assert!(trims.plan(&prefix, &keys::after(&prefix), |_| None).unwrap().is_none());
    assert!(trims.plan(&key(1, 1), &key(2, 5), |_| None).unwrap().is_none());
    trims.done(&trims.plan(&key(1, 1), &key(1, 100), |_| None).unwrap().unwrap());
    assert!(trims.plan(&key(1, 150), &key(1, 200), |_| None).is_err(), "a gap");
    let within = trims.within(&prefix, &keys::after(&prefix));
    assert_eq!(within.len(), 1);
    trims.forget(&within);
    assert!(!trims.hides(&key(1, 50)));
}

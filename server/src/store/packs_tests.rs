//! Bodies that one batch writes are stored in packs, and are found one by one, beside single ones.

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
    packs::{NotWhole, PACK_BYTES, Pack, Packing},
    trims::split,
};

fn queue(number: u32) -> QueueRef {
    QueueRef { department: DepartmentId(1), queue: QueueId(number) }
}

fn key(number: u32, sequence: u64) -> Vec<u8> {
    keys::body(queue(number), DEFAULT_LANE, sequence)
}

fn body(number: u32, sequence: u64, bytes: usize) -> Write {
    let fill = sequence.to_le_bytes()[0];
    let (head, tail) = (vec![fill; bytes / 3], vec![!fill; bytes - bytes / 3]);
    Write::Put { family: Family::Body, key: key(number, sequence), head: head.into(), tail: tail.into() }
}

/// Keys and values as RocksDB has them.
fn raw(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = store.db.raw_iterator_cf(store.family(Family::Body).unwrap());
    rows.seek_to_first();
    let mut found = Vec::new();
    while let Some((key, value)) = rows.item() {
        found.push((key.to_vec(), value.to_vec()));
        rows.next();
    }
    found
}

#[test]
fn a_batch_of_bodies_is_few_rows_and_one_body_is_a_row_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    store.write(&(1..=512).map(|sequence| body(1, sequence, 1_024)).collect::<Vec<_>>()).unwrap();
    store.write(&[body(1, 513, 1_024)]).unwrap();
    store.write(&[body(1, 514, 10), body(2, 1, 10), body(1, 515, 10), body(1, 517, 10)]).unwrap();
    let rows = raw(&store);
    assert_eq!(rows.len(), 5 + 1 + 4);
    assert!(rows.iter().all(|(_, value)| value.len() <= PACK_BYTES + 4));
    let alone: Vec<_> = rows.iter().filter_map(|(key, _)| split(key)).map(|(_, sequence)| sequence).collect();
    assert_eq!(alone, [513, 514, 515, 517, 1]);
}

#[test]
fn a_large_body_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    let sizes = [1_000, 1_000, 4 << 20, 1_000, 1_000];
    store
        .write(&(1..).zip(sizes).map(|(sequence, bytes)| body(1, sequence, bytes)).collect::<Vec<_>>())
        .unwrap();
    let sizes: Vec<_> = raw(&store).iter().map(|(_, value)| value.len()).collect();
    assert_eq!(sizes, [2_012, 4 << 20, 2_012]);
}

#[test]
fn a_row_that_is_not_whole_is_told() {
    let parts: Vec<Bytes> =
        ["one", "", "three"].iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
    let (key, mut packing, none) = (key(1, 7), Packing::default(), Bytes::new());
    let (line, _) = split(&key).unwrap();
    (5..).zip(&parts).for_each(|(sequence, part)| packing.add(line, sequence, part, &none));
    let mut row = (Vec::new(), Vec::new());
    packing.finish(&mut Vec::new(), |key, value| row = (key.to_vec(), value.to_vec()));
    let (key, value) = row;
    let pack = Pack::of(&key, &value).unwrap().unwrap();
    assert_eq!((pack.first, pack.last), (5, 7));
    assert_eq!(pack.copied(5..8).collect::<Vec<_>>(), parts);
    assert_eq!(pack.copied(6..8).collect::<Vec<_>>(), parts[1..]);
    for end in 0..value.len() {
        assert_eq!(Pack::of(&key, &value[..end]).unwrap_err(), NotWhole, "{end} bytes");
    }
    for at in 0..16 {
        let mut value = value.clone();
        value[at] ^= 0x40;
        assert_eq!(Pack::of(&key, &value).unwrap_err(), NotWhole, "byte {at}");
    }
    let none_before = [split(&key[..18]).unwrap().0, &1_u64.to_be_bytes(), &[1]].concat();
    assert_eq!(Pack::of(&none_before, &value).unwrap_err(), NotWhole);

    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    store.db.put_cf(store.family(Family::Body).unwrap(), &key, &value[..value.len() - 1]).unwrap();
    assert!(matches!(store.bodies(queue(1), DEFAULT_LANE, &[7], Amount::ALL), Err(StoreError::NotWhole)));
    assert!(store.range(Family::Body, &[], &[0xFF; 9], 10).is_err());
    assert!(matches!(store.scan(Family::Body, &mut |_| ()), Err(StoreError::NotWhole)));
}

#[test]
fn what_would_take_others_with_it_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    store.write(&(1..=9).map(|sequence| body(1, sequence, 100)).collect::<Vec<_>>()).unwrap();
    let trim = |from, to| Write::DeleteRange { family: Family::Body, from: key(1, from), to: key(1, to) };
    store.write(&[trim(1, 4)]).unwrap();
    let delete = Write::Delete { family: Family::Body, key: key(1, 7) };
    for refused in [trim(6, 8), delete] {
        let error = store.write(&[body(1, 10, 5), refused]).unwrap_err();
        assert!(matches!(error, StoreError::Unsupported(_)), "{error}");
    }
    let found = store.range(Family::Body, &[], &[0xFF; 9], 100).unwrap();
    let sequences: Vec<_> = found.iter().map(|(key, _)| split(key).unwrap().1).collect();
    assert_eq!(sequences, [4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_batch_may_trim_a_line_often_and_delete_it_between() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &small()).unwrap();
    let trim = |from, to| Write::DeleteRange { family: Family::Body, from: key(1, from), to: key(1, to) };
    let bodies = |from, to| (from..to).map(|sequence| body(1, sequence, 100));
    let queue = QueueRef { department: DepartmentId(1), queue: QueueId(1) };
    let prefix = keys::queue_prefix(queue);
    let purge = Write::DeleteRange { family: Family::Body, to: keys::after(&prefix), from: prefix };
    store.write(&bodies(1, 20).chain([trim(1, 4)]).collect::<Vec<_>>()).unwrap();
    store.write(&[trim(4, 6), trim(6, 9)]).unwrap();
    assert_eq!(store.range(Family::Body, &[], &[0xFF; 9], 100).unwrap().len(), 11);
    let again = [purge.clone(), trim(20, 24), purge, trim(25, 27), trim(27, 28)];
    store.write(&bodies(20, 25).chain(again).chain(bodies(28, 31)).collect::<Vec<_>>()).unwrap();
    for _ in 0..2 {
        let found = store.range(Family::Body, &[], &[0xFF; 9], 100).unwrap();
        let sequences: Vec<_> = found.iter().map(|(key, _)| split(key).unwrap().1).collect();
        assert_eq!(sequences, [28, 29, 30]);
        store.flush().unwrap();
        drop(store);
        store = Store::open(dir.path(), &small()).unwrap();
    }
    store.write(&[trim(28, 30)]).unwrap();
    assert_eq!(store.range(Family::Body, &[], &[0xFF; 9], 100).unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Batches of bodies of any size, asked for in any order.
    #[test]
    fn every_body_is_found_where_it_is_and_nowhere_else(
        batches in prop::collection::vec(
            (1..4_u32, prop::collection::vec(0..60_000_usize, 1..12), 0..3_u64, any::<bool>()),
            1..12,
        ),
        mut asked in prop::collection::vec(0..90_u64, 60),
        bounds in prop::collection::vec(((1..4_u32, 0..90_u64), (1..4_u32, 0..90_u64), 0..20_usize), 20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &small()).unwrap();
        let (mut model, mut next) = (MemKv::default(), [1_u64; 4]);
        for (number, sizes, gap, flush) in &batches {
            let next = &mut next[*number as usize];
            let first = *next + gap;
            let body = |(sequence, bytes): (u64, &usize)| body(*number, sequence, *bytes);
            let writes: Vec<_> = (first..).zip(sizes).map(body).collect();
            *next = first + sizes.len() as u64;
            store.write(&writes).unwrap();
            model.write(&writes);
            if *flush {
                store.flush().unwrap();
            }
        }
        let expected = |number, sequences: &[u64]| -> Vec<_> {
            sequences.iter().map(|sequence| model.get(Family::Body, &key(number, *sequence)).unwrap()).collect()
        };
        for _ in 0..2 {
            for number in 1..4 {
                let found = store.bodies(queue(number), DEFAULT_LANE, &asked, Amount::ALL).unwrap();
                prop_assert!(found == expected(number, &asked));
            }
            asked.sort_unstable();
        }
        for number in 1..4 {
            let sequences: Vec<_> = (0..90).collect();
            let amount = Amount { body_bytes: 30_000, max_bytes: 150_000 };
            let mut found = Vec::new();
            while found.len() < sequences.len() {
                let rest = &sequences[found.len()..];
                let some = store.bodies(queue(number), DEFAULT_LANE, rest, amount).unwrap();
                let last = some.iter().rposition(Option::is_some).unwrap_or(0);
                let before: usize = some[..last].iter().flatten().map(Bytes::len).sum();
                prop_assert!(!some.is_empty());
                prop_assert!(before < amount.max_bytes + PACK_BYTES, "{before} bytes before the last");
                found.extend(some);
            }
            prop_assert!(found == expected(number, &sequences));
        }
        for ((a, x), (b, y), limit) in bounds {
            let (from, to) = (key(a, x), key(b, y));
            let expected = model.range(Family::Body, &from, &to, limit).unwrap();
            prop_assert!(store.range(Family::Body, &from, &to, limit).unwrap() == expected);
            let expected = model.last(Family::Body, &from, &to).unwrap();
            prop_assert!(store.last(Family::Body, &from, &to).unwrap() == expected);
            let behind = [&from[..], &[0]].concat();
            let expected = model.range(Family::Body, &behind, &to, limit).unwrap();
            prop_assert!(store.range(Family::Body, &behind, &to, limit).unwrap() == expected);
        }
    }
}

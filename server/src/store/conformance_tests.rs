//! The store answers as the memory store does, whatever was written and flushed.

use posthouse_engine::kv::{Family, Kv, MemKv, Write};
use proptest::prelude::*;

use super::{Store, StoreOptions};

/// Small buffers, so that a test meets flushes and compactions.
pub(super) fn small() -> StoreOptions {
    StoreOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        open_files: 64,
        background_jobs: 2,
    }
}

fn family() -> impl Strategy<Value = Family> {
    prop::sample::select(&Family::ALL[..])
}

/// Few keys of different lengths, so that writes meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0x7F), Just(0xFF)], 1..4)
}

fn value() -> impl Strategy<Value = bytes::Bytes> {
    (any::<u8>(), 0..300_usize).prop_map(|(fill, len)| vec![fill; len].into())
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (family(), key(), value(), value())
            .prop_map(|(family, key, head, tail)| Write::Put { family, key, head, tail }),
        2 => (family(), key()).prop_map(|(family, key)| Write::Delete { family, key }),
        1 => (family(), key(), key()).prop_map(|(family, from, to)| Write::DeleteRange { family, from, to }),
    ]
}

fn batch() -> impl Strategy<Value = (Vec<Write>, bool)> {
    (prop::collection::vec(write(), 0..12), prop::bool::weighted(0.2))
}

/// The memory store accepts no range that ends before it begins.
fn sound(writes: &[Write]) -> Vec<Write> {
    let sound = |write: &&Write| !matches!(write, Write::DeleteRange { from, to, .. } if from >= to);
    writes.iter().filter(sound).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_reads_as_the_memory_store(
        batches in prop::collection::vec(batch(), 1..40),
        asked in prop::collection::vec((family(), key(), key(), 0..6_usize), 30),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &small()).unwrap();
        let mut model = MemKv::default();
        for (writes, flush) in &batches {
            store.write(writes).unwrap();
            model.write(&sound(writes));
            if *flush {
                store.flush().unwrap();
            }
        }
        for reopened in [false, true] {
            if reopened {
                store.flush().unwrap();
                drop(store);
                store = Store::open(dir.path(), &small()).unwrap();
            }
            for (family, a, b, limit) in &asked {
                prop_assert_eq!(store.get(*family, a).unwrap(), model.get(*family, a).unwrap());
                for limit in [*limit, 1_000] {
                    let expected = model.range(*family, a, b, limit).unwrap();
                    prop_assert_eq!(store.range(*family, a, b, limit).unwrap(), expected);
                }
                prop_assert_eq!(store.last(*family, a, b).unwrap(), model.last(*family, a, b).unwrap());
            }
        }
    }
}

fn body(nth: u64) -> Write {
    let key = nth.to_be_bytes().to_vec();
    Write::Put { family: Family::Body, key, head: vec![nth as u8; 1_000].into(), tail: bytes::Bytes::new() }
}

#[test]
fn files_of_trimmed_bodies_go_and_their_neighbours_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    for nth in 0..20_000 {
        store.write(&[body(nth)]).unwrap();
    }
    let (from, to) = (0_u64.to_be_bytes().to_vec(), 16_384_u64.to_be_bytes().to_vec());
    store.write(&[Write::DeleteRange { family: Family::Body, from, to }]).unwrap();
    store.flush().unwrap();
    let end = u64::MAX.to_be_bytes();
    let rows = store.range(Family::Body, &[], &end, 100_000).unwrap();
    assert_eq!(rows.len(), 20_000 - 16_384);
    assert_eq!(&rows[0].0[..], &16_384_u64.to_be_bytes()[..]);
}

#[test]
fn the_store_says_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &small()).unwrap();
    store.write(&[body(1)]).unwrap();
    let health = store.health().unwrap();
    assert_eq!((health.background_errors, health.write_stopped), (0, false));
    assert!(health.cache_bytes + health.memtable_bytes > 0);
    assert!(store.free_bytes().unwrap() > 0);
}

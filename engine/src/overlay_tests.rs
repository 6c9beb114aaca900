//! An overlay reads as a store would that had taken its writes.

use proptest::prelude::*;

use super::*;
use crate::kv::MemKv;

#[derive(Debug, Clone)]
enum Change {
    Put(u8, u8),
    Delete(u8),
    DeleteRange(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0u8..40, any::<u8>()).prop_map(|(key, value)| Change::Put(key, value)),
        (0u8..40).prop_map(Change::Delete),
        (0u8..40, 0u8..40).prop_map(|(from, to)| Change::DeleteRange(from.min(to), from.max(to))),
    ]
}

fn write(change: &Change) -> Write {
    let family = Family::State;
    match *change {
        Change::Put(key, value) => {
            Write::Put { family, key: vec![key], head: vec![value].into(), tail: Bytes::from_static(b"t") }
        }
        Change::Delete(key) => Write::Delete { family, key: vec![key] },
        Change::DeleteRange(from, to) => Write::DeleteRange { family, from: vec![from], to: vec![to] },
    }
}

proptest! {
    #[test]
    fn it_reads_as_the_store_would(
        before in prop::collection::vec(change(), 0..40),
        after in prop::collection::vec(change(), 0..40),
        (from, to, limit) in (0u8..40, 0u8..40, 0usize..50),
    ) {
        let mut committed = MemKv::default();
        committed.write(&before.iter().map(write).collect::<Vec<_>>());
        let mut expected = committed.clone();
        expected.write(&after.iter().map(write).collect::<Vec<_>>());

        let mut overlay = Overlay::new(&committed);
        for change in &after {
            match write(change) {
                Write::Put { family, key, head, tail } => overlay.put_parts(family, key, head, tail),
                Write::Delete { family, key } => {
                    overlay.changes[family as usize].rows.insert(key, None);
                }
                Write::DeleteRange { family, from, to } => overlay.delete_range(family, from, to),
            }
        }
        let ours = overlay.range(Family::State, &[from], &[to], limit).unwrap();
        prop_assert_eq!(ours, expected.range(Family::State, &[from], &[to], limit).unwrap());
        let (got, wanted) = (overlay.get(Family::State, &[from]), expected.get(Family::State, &[from]));
        prop_assert_eq!(got.unwrap(), wanted.unwrap());
        let last = overlay.last(Family::State, &[from], &[to]).unwrap();
        prop_assert_eq!(last, expected.last(Family::State, &[from], &[to]).unwrap());
        let writes = overlay.into_writes();
        committed.write(&writes);
        prop_assert_eq!(committed, expected);
    }
}

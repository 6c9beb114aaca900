//! A sorted run is a map, whatever the order in which its keys are inserted.

use proptest::prelude::*;

use super::*;

fn listed<'a>(entries: impl Iterator<Item = (&'a Vec<u8>, &'a u32)>) -> Vec<(Vec<u8>, u32)> {
    entries.map(|(key, value)| (key.clone(), *value)).collect()
}

proptest! {
    #[test]
    fn a_sorted_run_is_a_map(
        // Mostly ascending, as they come; at times a range is removed.
        changes in prop::collection::vec((0u8..60, 0u8..4, prop::option::weighted(0.1, 0u8..60)), 0..80),
        (from, to) in (0u8..60, 0u8..60),
    ) {
        let (mut run, mut map, mut last, mut value) = (SortedRun::default(), BTreeMap::new(), 0u8, 0u32);
        for (key, steps, removed_from) in changes {
            last = if steps > 0 { (last + steps).min(80) } else { key };
            value += 1;
            run.insert(vec![last], value);
            map.insert(vec![last], value);
            if let Some(removed_from) = removed_from {
                let (start, end) = (vec![removed_from], vec![removed_from.max(key)]);
                run.remove_range(&start, &end);
                map.retain(|key, _| *key < start || *key >= end);
            }
        }
        prop_assert_eq!(run.len(), map.len());
        prop_assert_eq!(run.get(&[from]), map.get(&vec![from]));
        let mut inside = listed(map.iter().filter(|(key, _)| vec![from] <= **key && **key < vec![to]));
        prop_assert_eq!(listed(run.range(&[from], &[to])), inside.clone());
        inside.reverse();
        prop_assert_eq!(listed(run.descending(&[from], &[to])), inside);
        let mut all = Vec::new();
        run.for_each(|entry| all.push(entry));
        prop_assert!(all.into_iter().eq(map));
    }
}

//! A map of the rows that a batch has changed in one family, by key.
//!
//! The bodies of a publish are inserted in ascending order, and there may be thousands in a batch. Keys that ascend
//! are appended to a sorted run; a tree holds the others.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    iter::from_fn,
    ops::Bound::{Excluded, Included},
};

/// The map. No key is in both parts.
#[derive(Debug)]
pub(crate) struct SortedRun<V> {
    /// By ascending key.
    run: Vec<(Vec<u8>, V)>,
    others: BTreeMap<Vec<u8>, V>,
}

impl<V> Default for SortedRun<V> {
    fn default() -> Self {
        Self { run: Vec::new(), others: BTreeMap::new() }
    }
}

impl<V> SortedRun<V> {
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: V) {
        let beyond_run = self.run.last().is_none_or(|(last, _)| *last < key);
        if beyond_run && self.others.last_key_value().is_none_or(|(last, _)| *last < key) {
            self.run.push((key, value));
            return;
        }
        match if beyond_run { None } else { self.index_of(&key).ok() } {
            Some(index) => self.run[index].1 = value,
            None => drop(self.others.insert(key, value)),
        }
    }

    /// Reserves memory for ascending keys that are inserted next.
    pub(crate) fn reserve(&mut self, keys: usize) {
        self.run.reserve(keys);
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        match self.index_of(key) {
            Ok(index) => Some(&self.run[index].1),
            Err(_) => self.others.get(key),
        }
    }

    /// The entries with `from <= key < to`, ascending.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a V)> + use<'a, V> {
        let (others, run) = self.between(from, to);
        merge(others, run, Ordering::Less)
    }

    /// The entries with `from <= key < to`, descending.
    pub(crate) fn descending<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a V)> + use<'a, V> {
        let (others, run) = self.between(from, to);
        merge(others.rev(), run.rev(), Ordering::Greater)
    }

    /// Removes the entries with `from <= key < to`.
    pub(crate) fn remove_range(&mut self, from: &[u8], to: &[u8]) {
        if from >= to {
            return;
        }
        self.run.drain(self.first_from(from)..self.first_from(to));
        let inside = self.others.range::<[u8], _>((Included(from), Excluded(to)));
        for key in inside.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.others.remove(&key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.run.len() + self.others.len()
    }

    /// Visits all entries, ascending.
    pub(crate) fn for_each(self, mut visit: impl FnMut((Vec<u8>, V))) {
        if self.others.is_empty() {
            self.run.into_iter().for_each(visit);
        } else {
            merge(self.others.into_iter(), self.run.into_iter(), Ordering::Less).for_each(&mut visit);
        }
    }

    fn index_of(&self, key: &[u8]) -> Result<usize, usize> {
        self.run.binary_search_by(|(at, _)| at[..].cmp(key))
    }

    /// The index in the run of the first key at or after this one.
    fn first_from(&self, key: &[u8]) -> usize {
        self.index_of(key).unwrap_or_else(|index| index)
    }

    #[allow(clippy::type_complexity, reason = "two iterators that are named nowhere else")]
    fn between<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
    ) -> (
        impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a V)> + use<'a, V>,
        impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a V)> + use<'a, V>,
    ) {
        let to = to.max(from);
        let run = &self.run[self.first_from(from)..self.first_from(to)];
        let others = self.others.range::<[u8], _>((Included(from), Excluded(to)));
        (others, run.iter().map(|(key, value)| (key, value)))
    }
}

/// Merges two sorted sequences. `first` is how a key compares to those after it.
fn merge<K: Ord, V>(
    one: impl Iterator<Item = (K, V)>,
    other: impl Iterator<Item = (K, V)>,
    first: Ordering,
) -> impl Iterator<Item = (K, V)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    from_fn(move || match (one.peek(), other.peek()) {
        (Some((left, _)), Some((right, _))) if left.cmp(right) != first => other.next(),
        (None, _) => other.next(),
        _ => one.next(),
    })
}

#[cfg(test)]
#[path = "sorted_run_tests.rs"]
mod tests;

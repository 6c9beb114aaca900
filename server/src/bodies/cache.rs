//! The newest bodies, in memory. Each queue has a line of consecutive sequences: its bodies are added and removed in
//! order, so that a message needs no index entry of its own.

use std::{
    collections::{HashMap, VecDeque},
    iter,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use posthouse_engine::{
    body::StoredBody,
    ids::{Lane, QueueRef},
    keys::BodyKey,
};

/// A longer gap between two sequences of a queue starts its line again.
const LONGEST_GAP: u64 = 4_096;
/// The most bodies of a line that are removed at once.
const RUN: u64 = 64;
/// Memory of a cached body besides its bytes.
const OVERHEAD_BYTES: usize = 96;

/// A row's value in its two parts.
pub(super) type Parts = (Bytes, Bytes);

/// The newest bodies, bounded by bytes: a consumer that keeps up never touches the store.
#[derive(Debug)]
pub(crate) struct BodyCache {
    lines: Mutex<Lines>,
    max_bytes: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How the cache is doing.
pub(crate) struct BodyFigures {
    /// Bodies found in it since the start.
    pub(crate) hits: u64,
    /// Bodies that were read from the store instead.
    pub(crate) misses: u64,
    /// Its size.
    pub(crate) bytes: usize,
}

type LaneKey = (QueueRef, Lane);

#[derive(Debug, Default)]
struct Lines {
    by_lane: HashMap<LaneKey, Line>,
    /// The runs of added bodies, oldest first: the lane, and the sequence after the run's last.
    puts: VecDeque<(LaneKey, u64)>,
    bytes: usize,
}

/// Bodies of one lane by consecutive sequences; a slot may be empty.
#[derive(Debug, Default)]
struct Line {
    first: u64,
    bodies: VecDeque<Option<Parts>>,
}

impl BodyCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { lines: Mutex::default(), max_bytes, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Keeps bodies that were just written, in their order.
    pub(crate) fn put_all(&self, bodies: impl IntoIterator<Item = StoredBody>) {
        let mut bodies = bodies.into_iter();
        // A batch without bodies takes no lock; its other writes are dropped after the lock is released.
        let Some(first) = bodies.next() else { return };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for StoredBody { key, head, tail } in iter::once(first).chain(bodies.by_ref()) {
            let BodyKey { queue, lane, sequence } = key;
            lines.put((queue, lane), sequence, (head, tail));
        }
        while lines.bytes > self.max_bytes && lines.forget_oldest() {}
    }

    pub(crate) fn figures(&self) -> BodyFigures {
        let bytes = self.lines.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        BodyFigures { hits, misses, bytes }
    }

    /// The cached ones of these bodies, in order.
    pub(super) fn get_all(&self, queue: QueueRef, lane: Lane, sequences: &[u64]) -> Vec<Option<Parts>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.by_lane.get(&(queue, lane));
        let found: Vec<_> = sequences.iter().map(|sequence| line?.get(*sequence)).collect();
        drop(lines);
        found
    }

    /// Counts bodies that were found in the cache, and bodies that were not.
    pub(super) fn count(&self, hits: usize, misses: usize) {
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add(misses as u64, Ordering::Relaxed);
    }
}

impl Lines {
    fn put(&mut self, lane: LaneKey, sequence: u64, parts: Parts) {
        let line = self.by_lane.entry(lane).or_default();
        let next = line.next();
        if line.bodies.is_empty() || sequence > next + LONGEST_GAP {
            self.bytes -= line.bodies.drain(..).flatten().map(|parts| size(&parts)).sum::<usize>();
            line.first = sequence;
        } else if sequence < next {
            // Written once; a replay meets an empty cache.
            return;
        }
        line.bodies.extend((line.next()..sequence).map(|_| None));
        self.bytes += size(&parts);
        line.bodies.push_back(Some(parts));
        match self.puts.back_mut() {
            Some((last, end)) if *last == lane && *end == sequence && !sequence.is_multiple_of(RUN) => {
                *end = sequence + 1
            }
            _ => self.puts.push_back((lane, sequence + 1)),
        }
    }

    /// Lets go of what was put first; `false`: there is nothing.
    fn forget_oldest(&mut self) -> bool {
        let Some((lane, end)) = self.puts.pop_front() else { return false };
        let Some(line) = self.by_lane.get_mut(&lane) else { return true };
        let count = usize::try_from(end.saturating_sub(line.first)).unwrap_or(usize::MAX);
        let removed = line.bodies.drain(..count.min(line.bodies.len())).flatten();
        self.bytes -= removed.map(|parts| size(&parts)).sum::<usize>();
        line.first = line.first.max(end);
        if line.bodies.is_empty() {
            self.by_lane.remove(&lane);
        }
        true
    }
}

impl Line {
    fn next(&self) -> u64 {
        self.first + self.bodies.len() as u64
    }

    fn get(&self, sequence: u64) -> Option<Parts> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.bodies.get(at)?.clone()
    }
}

/// Memory of a body in the cache.
pub(super) fn size((head, tail): &Parts) -> usize {
    head.len() + tail.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use posthouse_engine::ids::{DEFAULT_LANE, DepartmentId, QueueId};

    use super::*;

    const BODY: usize = 100;
    const ENTRY_BYTES: usize = BODY + OVERHEAD_BYTES;

    fn queue(number: u32) -> QueueRef {
        QueueRef { department: DepartmentId(1), queue: QueueId(number) }
    }

    fn put(cache: &BodyCache, number: u32, sequences: impl IntoIterator<Item = u64>) {
        let body = |sequence: u64| StoredBody {
            key: BodyKey { queue: queue(number), lane: DEFAULT_LANE, sequence },
            head: Bytes::new(),
            tail: Bytes::from(vec![u8::try_from(sequence % 251).unwrap(); BODY]),
        };
        cache.put_all(sequences.into_iter().map(body));
    }

    fn cached(cache: &BodyCache, number: u32, sequences: std::ops::Range<u64>) -> Vec<u64> {
        let asked: Vec<u64> = sequences.collect();
        let found = cache.get_all(queue(number), DEFAULT_LANE, &asked);
        let whole = |(sequence, parts): (u64, Option<Parts>)| {
            let (_, tail) = parts?;
            assert!(tail.iter().all(|byte| u64::from(*byte) == sequence % 251));
            Some(sequence)
        };
        asked.into_iter().zip(found).filter_map(whole).collect()
    }

    #[test]
    fn the_newest_are_kept_and_the_oldest_let_go() {
        let cache = BodyCache::new(10 * ENTRY_BYTES);
        for first in (1..=40).step_by(4) {
            put(&cache, 1, first..first + 4);
            put(&cache, 2, [first]);
        }
        let (one, two) = (cached(&cache, 1, 0..50), cached(&cache, 2, 0..50));
        assert_eq!(cache.figures().bytes, (one.len() + two.len()) * ENTRY_BYTES);
        assert_eq!(one, (33..=40).collect::<Vec<_>>());
        assert_eq!(two, [33, 37]);
    }

    #[test]
    fn one_queue_alone_keeps_nearly_all_that_fits() {
        let cache = BodyCache::new(1_000 * ENTRY_BYTES);
        put(&cache, 1, 1..=5_000);
        let cached = cached(&cache, 1, 0..5_001);
        assert!(cached.len() as u64 > 1_000 - RUN, "{} kept", cached.len());
        assert_eq!(cached.last(), Some(&5_000));
    }

    #[test]
    fn gaps_are_empty_and_long_ones_begin_anew() {
        let cache = BodyCache::new(100 * ENTRY_BYTES);
        put(&cache, 1, [5, 9]);
        assert_eq!(cached(&cache, 1, 0..20), [5, 9]);
        put(&cache, 1, [9 + 2 * LONGEST_GAP]);
        assert_eq!(cached(&cache, 1, 0..20), [0; 0]);
        assert_eq!(cache.figures().bytes, ENTRY_BYTES);
        // Removing the first runs changes nothing of the new line, and all of it can be removed.
        let all = 9 + 2 * LONGEST_GAP;
        put(&cache, 1, all + 1..all + 300);
        assert_eq!(cache.figures().bytes, cached(&cache, 1, all..all + 300).len() * ENTRY_BYTES);
        assert!(cache.figures().bytes <= 100 * ENTRY_BYTES);
    }

    #[test]
    fn a_body_larger_than_the_cache_is_not_kept() {
        let cache = BodyCache::new(ENTRY_BYTES - 1);
        put(&cache, 1, [1]);
        assert_eq!(cache.figures().bytes, 0);
        put(&cache, 1, [2]);
        assert_eq!(cached(&cache, 1, 0..5), [0; 0]);
    }
}

//! Estimates which bodies may still be in RocksDB's memtables: a trim of those writes a tombstone, so that the flush
//! leaves them out. It is an estimate by bytes: where it is wrong, some space is occupied for longer, or a tombstone is
//! written in vain.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// The first sequence of each line among the bodies that were written last.
#[derive(Debug)]
pub(super) struct Recent {
    generations: Mutex<Generations>,
    /// The size of a generation. Two of them are about as large as the memtables.
    generation_bytes: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Vec<u8>, u64>,
    old: HashMap<Vec<u8>, u64>,
    young_bytes: usize,
}

/// The bodies of one batch, as they are written.
#[derive(Default)]
pub(super) struct Runs<'a> {
    runs: Vec<Run<'a>>,
    bytes: usize,
}

/// Ascending keys of one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) line: &'a [u8],
    pub(super) first: u64,
    pub(super) last: u64,
}

impl<'a> Runs<'a> {
    pub(super) fn add(&mut self, line: &'a [u8], sequence: u64, bytes: usize) {
        self.bytes += bytes;
        match self.runs.last_mut().filter(|run| run.line == line && run.last < sequence) {
            Some(run) => run.last = sequence,
            None => self.runs.push(Run { line, first: sequence, last: sequence }),
        }
    }

    pub(super) fn all(&self) -> &[Run<'a>] {
        &self.runs
    }
}

impl Recent {
    pub(super) fn new(generation_bytes: usize) -> Self {
        Self { generations: Mutex::default(), generation_bytes }
    }

    /// Bodies were written.
    pub(super) fn record(&self, runs: &Runs<'_>) {
        if runs.bytes == 0 {
            return;
        }
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        for Run { line, first, .. } in &runs.runs {
            match generations.young.get_mut(*line) {
                Some(known) => *known = (*known).min(*first),
                None => drop(generations.young.insert(line.to_vec(), *first)),
            }
        }
        generations.young_bytes += runs.bytes;
        if generations.young_bytes > self.generation_bytes {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
    }

    /// The first recent sequence of a line.
    pub(super) fn first(&self, line: &[u8]) -> Option<u64> {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        [&generations.old, &generations.young].into_iter().filter_map(|of| of.get(line)).copied().min()
    }
}

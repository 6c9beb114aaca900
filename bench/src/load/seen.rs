//! Which messages were received, to find lost and duplicate ones.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Message numbers in one word of the map.
const WORD: u64 = 64;

/// The numbers of the messages that were received.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    words: HashMap<u64, u64>,
    distinct: u64,
    duplicates: u64,
}

impl Seen {
    /// Adds numbers of received messages.
    pub fn add(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            let word = inner.words.entry(number / WORD).or_default();
            let bit = 1 << (number % WORD);
            let is_new = *word & bit == 0;
            *word |= bit;
            if is_new {
                inner.distinct += 1;
            } else {
                inner.duplicates += 1;
            }
        }
    }

    /// Number of different messages.
    pub fn distinct(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).distinct
    }

    /// Number of messages that were received again.
    pub fn duplicates(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_counted() {
        let seen = Seen::default();
        seen.add([0, 63, 64, 1_000_000]);
        seen.add([64, 65]);
        assert_eq!((seen.distinct(), seen.duplicates()), (5, 1));
    }
}

//! A bitmap of one chunk, handled by words.

use bytes::Bytes;

use crate::limits::CHUNK;

pub(super) const WORDS: usize = CHUNK as usize / 64;

/// One bit per sequence of a chunk. Without a set bit it allocates nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Option<Box<[u64; WORDS]>>,
    ones: u32,
}

impl Bits {
    /// How many bits are set.
    pub(crate) const fn ones(&self) -> u32 {
        self.ones
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.ones as u64 == CHUNK
    }

    pub(crate) fn word(&self, word: usize) -> u64 {
        self.words.as_ref().map_or(0, |words| words[word])
    }

    pub(crate) fn get(&self, bit: usize) -> bool {
        self.word(bit / 64) >> (bit % 64) & 1 == 1
    }

    /// Sets a bit; returns whether it was clear.
    pub(crate) fn set(&mut self, bit: usize) -> bool {
        let word = &mut self.words.get_or_insert_with(|| Box::new([0; WORDS]))[bit / 64];
        let changed = *word >> (bit % 64) & 1 == 0;
        *word |= 1 << (bit % 64);
        self.ones += u32::from(changed);
        changed
    }

    /// Clears a bit; returns whether it was set.
    pub(crate) fn clear(&mut self, bit: usize) -> bool {
        let Some(words) = &mut self.words else { return false };
        let word = &mut words[bit / 64];
        let changed = *word >> (bit % 64) & 1 == 1;
        *word &= !(1 << (bit % 64));
        self.ones -= u32::from(changed);
        changed
    }

    /// All bits below `bit` set, the others clear.
    pub(crate) fn below(bit: usize) -> Self {
        let mut bits = Self::default();
        for bit in 0..bit {
            bits.set(bit);
        }
        bits
    }

    /// The first clear bit at or above `from`.
    pub(crate) fn first_clear(&self, from: usize) -> Option<usize> {
        (from / 64..WORDS).find_map(|word| {
            let mut clear = !self.word(word);
            if word == from / 64 {
                clear &= u64::MAX << (from % 64);
            }
            (clear != 0).then(|| word * 64 + clear.trailing_zeros() as usize)
        })
    }

    /// The last set bit.
    pub(crate) fn last_set(&self) -> Option<usize> {
        let word = (0..WORDS).rev().find(|word| self.word(*word) != 0)?;
        Some(word * 64 + self.word(word).ilog2() as usize)
    }

    /// The bits that are set, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..WORDS).flat_map(|word| ones_of(self.word(word), word))
    }

    /// The stored form: little-endian words, or nothing if no bit is set.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &self.words {
            Some(words) if self.ones > 0 => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            _ => Bytes::new(),
        }
    }

    /// Reads the stored form; `None` if its length is wrong.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (stored, []) = bytes.as_chunks::<8>() else { return None };
        let mut words = Box::new([0; WORDS]);
        if stored.len() != WORDS {
            return None;
        }
        for (word, stored) in words.iter_mut().zip(stored) {
            *word = u64::from_le_bytes(*stored);
        }
        let ones = words.iter().map(|word| word.count_ones()).sum();
        Some(Self { words: Some(words), ones })
    }
}

/// The set bits of the word at `word`, as bits of the chunk.
pub(super) fn ones_of(mut bits: u64, word: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(word * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set(
            changes in prop::collection::vec((0..CHUNK as usize, any::<bool>()), 0..300),
            from in 0..CHUNK as usize,
        ) {
            let (mut bits, mut set) = (Bits::default(), BTreeSet::new());
            for (bit, on) in changes {
                if on {
                    prop_assert_eq!(bits.set(bit), set.insert(bit));
                } else {
                    prop_assert_eq!(bits.clear(bit), set.remove(&bit));
                }
            }
            prop_assert_eq!(bits.ones() as usize, set.len());
            prop_assert!(bits.iter().eq(set.iter().copied()));
            prop_assert_eq!(bits.first_clear(from), (from..CHUNK as usize).find(|bit| !set.contains(bit)));
            let stored = Bits::from_bytes(&bits.to_bytes()).unwrap();
            prop_assert!(stored.iter().eq(set.iter().copied()));
            prop_assert_eq!(stored.ones(), bits.ones());
        }
    }

    #[test]
    fn a_bitmap_of_another_length_is_refused() {
        for length in [1, 8, 504, 511, 513, 520] {
            assert!(Bits::from_bytes(&vec![1; length]).is_none(), "{length}");
        }
    }
}

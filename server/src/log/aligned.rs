//! Bytes that begin on a block's boundary in memory, as writes past the page cache want them.

use super::format::BLOCK;

const ALIGN: usize = BLOCK as usize;

/// A buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Fills it again: `fill` appends at most `max` bytes.
    pub fn fill(&mut self, max: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.clear();
        self.bytes.reserve(max + ALIGN);
        // The start of the allocation changes when it grows; it does not grow from here on.
        self.start = self.bytes.as_ptr().align_offset(ALIGN).min(ALIGN);
        self.bytes.resize(self.start, 0);
        fill(&mut self.bytes);
    }

    /// The bytes it was filled with.
    pub fn get(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// One large fill must not hold its memory for ever.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_on_a_boundary_whatever_it_held_before() {
        let mut aligned = Aligned::default();
        for size in [1, 4_096, 100_000, 10, 3 << 20, 64] {
            aligned.fill(size, |out| out.extend(std::iter::repeat_n(7, size)));
            assert_eq!(aligned.get(), vec![7; size]);
            assert_eq!(aligned.get().as_ptr().align_offset(ALIGN), 0, "{size}");
            aligned.shrink_to(1 << 20);
        }
    }
}

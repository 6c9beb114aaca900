//! Compaction leaves out what was trimmed.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::Arc;

use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

use super::trims::{Trims, split};

/// Makes a filter for every compaction of bodies.
pub(super) struct DropTrimmed(pub(super) Arc<Trims>);

/// The filter of one compaction, which meets keys in their order.
pub(super) struct Filter {
    trims: Arc<Trims>,
    line: Vec<u8>,
    droppable: Range<u64>,
}

impl CompactionFilterFactory for DropTrimmed {
    type Filter = Filter;

    fn create(&mut self, _context: CompactionFilterContext) -> Filter {
        let trims = Arc::clone(&self.0);
        Filter { droppable: trims.droppable(&[]), trims, line: Vec::new() }
    }

    fn name(&self) -> &CStr {
        c"posthouse.trimmed-bodies"
    }
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], _value: &[u8]) -> CompactionDecision {
        let Some((line, sequence)) = split(key) else { return CompactionDecision::Keep };
        if line != self.line {
            self.line.clear();
            self.line.extend_from_slice(line);
            self.droppable = self.trims.droppable(line);
        }
        if self.droppable.contains(&sequence) { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        c"posthouse.trimmed-bodies"
    }
}

//! Compaction leaves out what was trimmed.

use std::{ffi::CStr, ops::Range, sync::Arc};

use rocksdb::{
    CompactionDecision,
    compaction_filter::CompactionFilter,
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
};

use super::{packs::Pack, trims::Trims};

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
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        // A row that is not whole is reported to its readers.
        let Ok(Some(Pack { line, first, last, .. })) = Pack::of(key, value) else {
            return CompactionDecision::Keep;
        };
        if line != self.line {
            self.line.clear();
            self.line.extend_from_slice(line);
            self.droppable = self.trims.droppable(line);
        }
        match self.droppable.contains(&first) && self.droppable.contains(&last) {
            true => CompactionDecision::Remove,
            false => CompactionDecision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        c"posthouse.trimmed-bodies"
    }
}

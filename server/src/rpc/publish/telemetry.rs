//! Counts and records published batches.

use std::sync::Arc;

use posthouse_engine::outcome::{EntryResult, Published};

use crate::{
    observe::{Action, Observer, RecordSlot},
    rpc::{
        access_record::record,
        publish::target::PublishTarget,
        wire::{code_name::code_name, status::ApiError},
    },
};

/// Counts and records a batch that was decided. `bytes` are those of all its messages; `slot` is for its record, where
/// publishes are recorded.
pub(crate) fn published(
    observer: &Observer,
    target: &PublishTarget,
    published: &Published,
    errors: &[Arc<ApiError>],
    bytes: usize,
    slot: Option<RecordSlot>,
) {
    let messages = &observer.metrics.messages;
    let count = |is: fn(&EntryResult) -> bool| published.results.iter().filter(|r| is(r)).count() as u64;
    let stored = count(|result| matches!(result, EntryResult::Stored(_)));
    messages.batch.observe(published.results.len() as f64);
    messages.duplicates.inc_by(count(|result| matches!(result, EntryResult::Duplicate(_))));
    errors.iter().for_each(|error| rejected(observer, error));
    if stored > 0 {
        messages.published.inc_by(stored);
        messages.published_bytes.inc_by(bytes as u64);
    }
    if let Some(tenant) = observer.metrics.tenant(&target.permit.principal().tenant).filter(|_| stored > 0) {
        tenant.published.inc_by(stored);
        tenant.published_bytes.inc_by(bytes as u64);
    }
    if let Some(slot) = slot {
        let mut record = record(Action::Publish, "publish", &target.permit);
        let sequences = published.results.iter().filter_map(|result| match result {
            EntryResult::Stored(sequence) => Some(*sequence),
            EntryResult::Duplicate(_) | EntryResult::Refused => None,
        });
        sequences.for_each(|sequence| record.sequences.add(None, sequence));
        record.count = stored;
        record.not_done = (published.results.len() as u64).saturating_sub(stored);
        observer.access.put(&record, slot);
    }
}

/// Records a batch of so many messages that was proposed, and of which no message is known to be stored.
pub(crate) fn not_published(
    observer: &Observer,
    target: &PublishTarget,
    error: &ApiError,
    count: usize,
    slot: Option<RecordSlot>,
) {
    if let Some(slot) = slot {
        let mut record = record(Action::Publish, "publish", &target.permit);
        record.not_done = count as u64;
        (record.outcome, record.reason) = (code_name(error.code()), error.reason_name().into());
        observer.access.put(&record, slot);
    }
}

/// Counts a message or a batch that was refused.
pub(crate) fn rejected(observer: &Observer, error: &ApiError) {
    observer.metrics.messages.rejected.with_label_values(&[error.reason_name()]).inc();
}

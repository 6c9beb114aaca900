//! Checks the data folder of a stopped server: its parts, and whether they fit together. Nothing is written.
//!
//! In the order of dependence: the NODE file, the log's checksums, the store's checksums, each shard's rows against
//! each other, and the store against the log.

mod report;
mod rows;

use std::path::Path;

use posthouse_engine::kv::Family;
use posthouse_text::causes;

use crate::{
    log::{LocalLog, OpenLog},
    store::{DataDir, DataDirError, Store, StoreOpenError, StoreOptions},
};
pub use report::{Part, Problem, StoreReport};

/// What a check may use.
#[derive(Debug, Clone, Copy)]
pub struct StoreCheckOptions {
    /// The rows of shards with more rows are not compared: each row takes about 100 bytes of memory.
    pub max_rows: u64,
}

impl Default for StoreCheckOptions {
    fn default() -> Self {
        Self { max_rows: 5_000_000 }
    }
}

/// Checks a data folder. `step` is called with the next part.
///
/// # Errors
/// When there is no data folder at this path, or a server runs on it. Whatever is wrong inside is in the report.
pub fn check_store(
    dir: &Path,
    options: StoreCheckOptions,
    step: &mut dyn FnMut(&str),
) -> Result<StoreReport, DataDirError> {
    let mut report = StoreReport::default();
    step("the NODE file");
    let data = match DataDir::inspect(dir) {
        Ok(data) => data,
        Err(error @ (DataDirError::InUse { .. } | DataDirError::NoData { .. } | DataDirError::Io { .. })) => {
            return Err(error);
        }
        Err(error) => {
            report.parts.push(Part::broken("node file", Problem::advised(&error)));
            return Ok(report);
        }
    };
    let seen = format!("node {}, {} shards", data.node(), data.shards());
    report.parts.push(Part::sound("node file", seen));
    step("the log");
    let log = check_log(&data, &mut report);
    step("the store");
    let store = check_store_files(&data, &mut report);
    let Some((store, rows)) = store else {
        report.parts.push(Part::skipped("shards", "the store cannot be read"));
        return Ok(report);
    };
    let Some(catalogue) = rows::catalogue(&data, &store, &mut report) else { return Ok(report) };
    let shards = rows::shards(&data, &store, &catalogue, &rows, options.max_rows, step, &mut report);
    step("the store against the log");
    match log {
        Some(log) => report.parts.push(rows::against_log(dir, &log, &store, &catalogue, &shards)),
        None => report.parts.push(Part::skipped("store and log", "the log cannot be read")),
    }
    Ok(report)
}

/// Every group of every segment has the checksum it was written with, and follows the one before it.
fn check_log(data: &DataDir, report: &mut StoreReport) -> Option<OpenLog> {
    match LocalLog::inspect(&data.log()) {
        Err(error) => {
            report.parts.push(Part::broken("log", Problem::advised(&error)));
            None
        }
        Ok(log) => {
            let (segments, bytes) = log.size();
            let entries: u64 = log.groups().values().map(|(first, last)| last + 1 - first).sum();
            let seen =
                format!("segments: {segments}, entries: {entries}, bytes: {bytes}, every checksum right");
            let mut part = Part::sound("log", seen);
            if let Some((path, at, bytes)) = log.torn_tail() {
                part.notices.push(format!(
                    "{}: the last group, {bytes} bytes at byte {at}, was never finished; nobody was told that it was \
                     stored, and the next start cuts it",
                    path.display()
                ));
            }
            report.parts.push(part);
            Some(log)
        }
    }
}

/// Every block of every file has the checksum it was written with.
fn check_store_files(data: &DataDir, report: &mut StoreReport) -> Option<(Store, rows::Counts)> {
    let options = StoreOptions { block_cache_bytes: 32 << 20, ..StoreOptions::default() };
    let store = match Store::inspect(&data.store(), &options) {
        Ok(store) => store,
        Err(StoreOpenError::Missing { .. }) if !data.has_begun() => {
            report.parts.push(Part::sound("store", "none yet: no server has run on this folder".to_owned()));
            return None;
        }
        Err(error) => {
            report.parts.push(Part::broken("store", Problem::advised(&error)));
            return None;
        }
    };
    let mut counts = rows::Counts::default();
    let mut problems = Vec::new();
    for family in Family::ALL {
        if let Err(error) = store.scan(family, &mut |key| counts.count(family, key)) {
            problems.push(Problem::damage(format!("rows of kind {:?}: {}", family.name(), causes(&error))));
        }
    }
    let sound = problems.is_empty();
    let seen = format!("rows: {}{}", counts.all(), if sound { ", every checksum right" } else { "" });
    report.parts.push(Part { problems, ..Part::sound("store", seen) });
    sound.then_some((store, counts))
}

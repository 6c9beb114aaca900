//! Appends entries to the log of a stopped server.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use posthouse_engine::{
    catalogue::{CatalogueMachine, DepartmentView},
    ids::ShardId,
    limits::MACHINE_VERSION,
    schema::{Batch, Command, CommandRecord},
};
use posthouse_server::{
    log::{CommitSink, Entry, GroupId, LocalLog, LocalLogOptions, Log, ProposeError},
    store::{Store, StoreOptions},
};
use prost::Message as _;

/// An entry that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its index in its shard's log.
    pub index: u64,
    /// The SHA-256 of its bytes, in hex.
    pub digest: String,
}

#[derive(Clone, Default)]
struct Committed(Arc<Mutex<Vec<Entry>>>);

impl CommitSink for Committed {
    fn committed(&self, entries: Vec<Entry>) {
        self.0.lock().unwrap().extend(entries);
    }

    fn refused(&self, _: GroupId, _: Vec<Bytes>, why: ProposeError) {
        panic!("the log has refused it: {why}");
    }
}

/// The departments in the store of a data folder. Stop the server cleanly first.
pub fn departments(data: &Path, shards: u16) -> Vec<DepartmentView> {
    let store = Store::inspect(&data.join("store"), &StoreOptions::default()).unwrap();
    CatalogueMachine::hydrate(shards, &store).unwrap().view().departments
}

/// A batch of these commands, as this version proposes it.
pub fn batch(shard: ShardId, commands: Vec<Command>) -> Batch {
    let commands = commands.into_iter().map(|command| CommandRecord { command: Some(command) }).collect();
    Batch { shard: shard.0.into(), machine_version: MACHINE_VERSION, commands, ..Batch::default() }
}

/// Appends batches to a shard's log.
pub fn append(data: &Path, shard: ShardId, batches: &[Batch]) -> Vec<Appended> {
    let entries = batches.iter().map(|batch| [&7_u64.to_be_bytes()[..], &batch.encode_to_vec()].concat());
    append_bytes(data, shard, entries.collect())
}

/// Appends entries of these bytes to a shard's log.
pub fn append_bytes(data: &Path, shard: ShardId, entries: Vec<Vec<u8>>) -> Vec<Appended> {
    let committed = Committed::default();
    let log = LocalLog::open(&data.join("log"), LocalLogOptions::default()).unwrap();
    let log = log.start(Arc::new(committed.clone())).unwrap();
    for entry in entries {
        log.propose(GroupId(shard.0), entry).unwrap();
    }
    // All proposed entries are in the log now.
    log.close();
    let hex = |data: &[u8]| digest(&SHA256, data).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let entries = std::mem::take(&mut *committed.0.lock().unwrap());
    entries.into_iter().map(|entry| Appended { index: entry.index, digest: hex(&entry.data) }).collect()
}

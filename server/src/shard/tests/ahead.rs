//! Messages that are waited for are leased by the batch that stores them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use posthouse_engine::{
    ids::ShardId,
    schema::{Batch, Command, CommandRecord, Publish, PublishEntry},
};

use super::{
    clock,
    node::{Node, context, replayed, store},
    session,
};
use crate::{
    dispatch::SessionEvent,
    log::{GroupId, Log, LogError, MemDisk, ProposeError},
    shard::{Reply, pending::decode_batch, replica::Replica},
};

#[tokio::test]
async fn a_message_that_is_waited_for_is_stored_and_leased_by_one_batch() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let node = Node::start(dir.path(), &disk, clock());
    node.define().await;
    let (open, mut received) = session(1);
    let _session = node.shards.open_session(ShardId(1).into(), open);
    assert!(matches!(received.recv().await, Some(SessionEvent::Resumed(_))));
    for count in [1, 3] {
        let before = disk.entries(GroupId(1), 0).len();
        node.publish(1, count).await.unwrap();
        let granted = loop {
            match received.recv().await.unwrap() {
                SessionEvent::Granted(granted) => break granted,
                SessionEvent::Idle { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(granted.len(), count);
        assert_eq!(disk.entries(GroupId(1), 0).len(), before + 1);
    }
    node.stop();
    // The log contains what the stream was sent.
    let node = Node::start(dir.path(), &disk, clock());
    node.wait(1, |counts| counts.in_flight == 4 && counts.ready == 0).await;
    node.stop();
}

#[tokio::test]
async fn a_lease_is_never_in_a_later_batch_than_its_message() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let node = Node::start(dir.path(), &disk, clock());
    node.define().await;
    node.stop();
    let store = store(dir.path());
    let taking = Arc::new(Taking::default());
    let log: Arc<dyn Log> = taking.clone();
    let context = context(&store, &log, clock());
    let mut replica = Replica::new(replayed(1, &store, &disk), &context);
    let (mut open, _received) = session(1);
    open.credit.messages = 10_000;
    replica.open_session(&context, open);
    let entry = PublishEntry { content: "x".into(), payload_bytes: 1, ..PublishEntry::default() };
    let publish = Publish { department: 2, queue: 1, entries: vec![entry], ..Publish::default() };
    // Messages and leases of each batch.
    let mut proposed = |publishes: usize| {
        for _ in 0..publishes {
            replica.propose(Command::Publish(publish.clone()), Reply::Nobody);
        }
        replica.flush(&context, false);
        let batches = std::mem::take(&mut *taking.batches.lock().unwrap());
        let leases = |record: &CommandRecord| match &record.command {
            Some(Command::Grant(grant)) => grant.sequences.len(),
            _ => 0,
        };
        let of_a_batch =
            |batch: &Batch| (batch.commands.len(), batch.commands.iter().map(leases).sum::<usize>());
        batches.iter().map(of_a_batch).collect::<Vec<_>>()
    };
    assert_eq!(proposed(0), [(1, 0)], "the command that the leader begins with");
    assert_eq!(proposed(300), [(302, 300)]);
    assert_eq!(proposed(2), [(3, 2)], "behind what is under way and leased");
    assert_eq!(proposed(1_100), [(1_024, 0), (76, 0)]);
    assert_eq!(proposed(2), [(2, 0)], "behind what is under way and not leased");
}

/// A log that accepts everything and writes nothing.
#[derive(Default)]
struct Taking {
    batches: Mutex<Vec<Batch>>,
}

impl Log for Taking {
    fn propose(&self, _: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.batches.lock().unwrap().push(decode_batch(data.into()).unwrap());
        Ok(())
    }

    fn propose_inline(&self, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
        self.propose(group, data)
    }

    fn trim(&self, _: &BTreeMap<GroupId, u64>) -> Result<(), LogError> {
        Ok(())
    }

    fn bytes_since_trim(&self) -> u64 {
        0
    }

    fn close(&self) {}
}

mod ahead;
mod batches;
mod node;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use posthouse_engine::{
    ids::ShardId,
    limits::MACHINE_VERSION,
    outcome::Outcome,
    schema::{Batch, Command, Grant, Holder},
};
use prost::Message as _;
use tokio::sync::mpsc;

use self::node::{Node, SHARDS, at, context, replayed, store};
use super::{Reply, ShardError, replica::Replica};
use crate::{
    clock::{Clock, LastStamp},
    dispatch::{Credit, SessionEvent, SessionKey, SessionOpen},
    log::{GroupId, Log, LogError, MemDisk, ProposeError},
};

fn clock() -> Clock {
    Clock::start(LastStamp { stamp_ms: 0, wall_ms: 0 }, false)
}

/// Every lease of a test has run out by then.
fn later() -> Clock {
    let ahead_ms = clock().now_ms() + 3_600_000;
    Clock::start(LastStamp { stamp_ms: ahead_ms, wall_ms: ahead_ms }, true)
}

fn session(shard: u16) -> (SessionOpen, mpsc::UnboundedReceiver<SessionEvent>) {
    let (events, received) = mpsc::unbounded_channel();
    let open = SessionOpen {
        key: SessionKey(1),
        subscription: at(shard),
        holder: Holder { tenant: 1, subject: "app".to_owned(), session_id: "stream".into() },
        lease_duration_ms: 30_000,
        credit: Credit { messages: 10, bytes: 0 },
        events,
    };
    (open, received)
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let node = Node::start(dir.path(), &disk, clock());
    node.define().await;
    for shard in 0..SHARDS {
        let published = node.publish(shard, 3).await;
        assert!(matches!(published, Ok(Outcome::Publish(Ok(_)))), "{published:?}");
        assert_eq!(node.counts(shard).await.unwrap().ready, 3);
    }
    node.stop();
    let node = Node::start(dir.path(), &disk, clock());
    for shard in 0..SHARDS {
        assert_eq!(node.counts(shard).await.unwrap().ready, 3);
        node.publish(shard, 1).await.unwrap();
    }
    let shards = node.shards.clone();
    node.stop();
    let asked = shards.query(ShardId(0), |_, _| ()).await;
    assert!(matches!(asked, Err(ShardError::Stopping)), "{asked:?}");
}

#[tokio::test]
async fn what_a_full_disk_refuses_is_said_so_and_tried_again_by_those_that_can() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let node = Node::start(dir.path(), &disk, clock());
    node.define().await;
    node.publish(0, 3).await.unwrap();
    disk.set_full(true);
    assert!(matches!(node.publish(0, 1).await, Err(ShardError::DiskFull)));
    let (open, mut received) = session(0);
    let _handle = node.shards.open_session(ShardId(0).into(), open);
    assert!(matches!(received.recv().await, Some(SessionEvent::Resumed(_))));
    // Long enough for its first grant to be refused.
    assert!(matches!(node.publish(0, 1).await, Err(ShardError::DiskFull)));
    assert!(received.try_recv().is_err());
    disk.set_full(false);
    let Some(SessionEvent::Granted(granted)) = received.recv().await else { panic!("no grant") };
    assert_eq!(granted.len(), 3);
    node.publish(0, 1).await.unwrap();
    assert!(matches!(received.recv().await, Some(SessionEvent::Granted(_))));
    node.stop();
}

#[tokio::test]
async fn a_shard_that_halts_says_so_and_the_others_go_on() {
    let newer = Batch { shard: 1, machine_version: MACHINE_VERSION + 1, ..Batch::default() };
    let newer = [&[0; 8], &newer.encode_to_vec()[..]].concat();
    for poison in [newer, [0xFF; 40].to_vec()] {
        let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
        let node = Node::start(dir.path(), &disk, clock());
        node.define().await;
        node.publish(1, 2).await.unwrap();
        let (open, mut received) = session(1);
        let _handle = node.shards.open_session(ShardId(1).into(), open);
        assert!(matches!(received.recv().await, Some(SessionEvent::Resumed(_))));
        assert!(matches!(received.recv().await, Some(SessionEvent::Granted(_))));
        node.log.propose(GroupId(1), poison).unwrap();
        assert!(matches!(received.recv().await, Some(SessionEvent::Halted)));
        assert_halted(&node, &disk).await;
        node.stop();
        // It halts again, and again nothing but it.
        let node = Node::start(dir.path(), &disk, clock());
        assert_halted(&node, &disk).await;
        node.stop();
    }
}

async fn assert_halted(node: &Node, disk: &MemDisk) {
    let held = disk.groups()[&GroupId(1)].1;
    for _ in 0..2 {
        assert!(matches!(node.publish(1, 1).await, Err(ShardError::Halted(_))));
        assert!(matches!(node.counts(1).await, Err(ShardError::Halted(_))));
    }
    let (open, mut received) = session(1);
    let _handle = node.shards.open_session(ShardId(1).into(), open);
    assert!(matches!(received.recv().await, Some(SessionEvent::Halted)));
    assert!(matches!(node.publish(3, 1).await, Ok(Outcome::Publish(Ok(_)))));
    assert_eq!(disk.groups()[&GroupId(1)].1, held);
    // The batch that halted it is the last; it must not be trimmed before it was inspected.
    let shards = node.shards.clone();
    let applied = tokio::task::spawn_blocking(move || shards.applied()).await.unwrap();
    let applied: BTreeMap<_, _> = applied.into_iter().collect();
    assert_eq!(applied[&GroupId(1)], held - 1);
}

#[tokio::test]
async fn leases_that_ran_out_while_nobody_served_come_back_uncounted() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let node = Node::start(dir.path(), &disk, clock());
    node.define().await;
    node.publish(2, 5).await.unwrap();
    node.lease(2, &[1, 2, 3]).await;
    assert_eq!(node.counts(2).await.unwrap().in_flight, 3);
    node.stop();
    let node = Node::start(dir.path(), &disk, later());
    node.wait(2, |counts| counts.in_flight == 0 && counts.ready == 5).await;
    let Outcome::Grant(Ok(granted)) = node.lease(2, &[1]).await else { panic!("no grant") };
    assert_eq!(granted.items[0].attempt, 1);
    node.stop();
}

#[tokio::test]
async fn a_timer_that_is_due_does_not_ask_a_full_log_without_a_pause() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let node = Node::start(dir.path(), &disk, clock());
    node.define().await;
    node.publish(2, 1).await.unwrap();
    node.lease(2, &[1]).await;
    node.stop();
    let store = store(dir.path());
    let full = Arc::new(Full::default());
    let log: Arc<dyn Log> = full.clone();
    let context = context(&store, &log, later());
    let mut replica = Replica::new(replayed(2, &store, &disk), &context);
    let (due, before) = (replica.deadline_ms().unwrap(), context.clock.now_ms());
    assert!(due < before);
    replica.flush(&context, true);
    assert!(full.asked_here.load(Ordering::Relaxed) > 0);
    assert!(replica.deadline_ms().unwrap() >= before + 500);
}

#[tokio::test]
async fn a_worker_writes_only_little_itself_and_only_when_nothing_can_be_synced_with_it() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::default());
    let store = store(dir.path());
    let full = Arc::new(Full::default());
    let log: Arc<dyn Log> = full.clone();
    let context = context(&store, &log, clock());
    let mut replica = Replica::new(replayed(2, &store, &disk), &context);
    replica.flush(&context, true);
    let grant = |count: u64| Command::Grant(Grant { sequences: (1..=count).collect(), ..Grant::default() });
    let mut proposed = |messages: u64, commands: usize, alone: bool| {
        (0..commands).for_each(|_| replica.propose(grant(messages), Reply::Nobody));
        let before = (full.asked.load(Ordering::Relaxed), full.asked_here.load(Ordering::Relaxed));
        replica.flush(&context, alone);
        let (asked, here) = (full.asked.load(Ordering::Relaxed), full.asked_here.load(Ordering::Relaxed));
        (asked - before.0, here - before.1)
    };
    // (by the log's thread, here)
    assert_eq!(proposed(64, 1, true), (0, 1));
    assert_eq!(proposed(65, 1, true), (1, 0));
    assert_eq!(proposed(64, 1, false), (1, 0), "another shard is about to propose");
    assert_eq!(proposed(32, 2, true), (0, 1));
    assert_eq!(proposed(256, 1, true), (1, 0));
    let after: Vec<_> = (0..6).map(|_| proposed(1, 1, true).1).collect();
    assert_eq!(after, [0, 0, 0, 0, 1, 1], "a large batch is followed by others");
    assert_eq!(proposed(0, 1_025, true), (1, 1), "more waits behind the first");
}

/// A log that refuses everything, and counts the proposals, and those to be written at once.
#[derive(Default)]
struct Full {
    asked: AtomicUsize,
    asked_here: AtomicUsize,
}

impl Log for Full {
    fn propose(&self, _: GroupId, _: Vec<u8>) -> Result<(), ProposeError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Err(ProposeError::Full)
    }

    fn propose_inline(&self, _: GroupId, _: Vec<u8>) -> Result<(), ProposeError> {
        self.asked_here.fetch_add(1, Ordering::Relaxed);
        Err(ProposeError::Full)
    }

    fn trim(&self, _: &BTreeMap<GroupId, u64>) -> Result<(), LogError> {
        Ok(())
    }

    fn bytes_since_trim(&self) -> u64 {
        0
    }

    fn close(&self) {}
}

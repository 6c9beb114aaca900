//! Who writes the log, and what happens to proposals that arrive meanwhile.

use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use super::{
    CommitSink, Entry, GroupId, Log, ProposeError,
    conformance::{Recorder, small},
    disk::tests::{Fault, Op},
    local::LocalLog,
    options::{LocalLogOptions, OnFatal},
};

/// A log that has written one group, so that it knows how fast the disk is.
fn started(options: LocalLogOptions) -> (tempfile::TempDir, Arc<Held>, LocalLog) {
    let (dir, held) = (tempfile::tempdir().unwrap(), Arc::new(Held::default()));
    let log = LocalLog::open(dir.path(), options).unwrap().start(held.clone()).unwrap();
    log.propose(GroupId(0), b"zeroth".to_vec()).unwrap();
    held.recorded.wait(1);
    wait(|| log.is_unlocked());
    (dir, held, log)
}

fn wait(until: impl Fn() -> bool) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come");
        thread::yield_now();
    }
}

#[test]
fn a_proposer_alone_writes_itself_and_is_told_before_the_call_returns() {
    let (_dir, held, log) = started(small());
    log.propose_inline(GroupId(0), b"first".to_vec()).unwrap();
    assert_eq!((held.recorded.wait(0).committed.len(), held.last()), (2, Some(thread::current().id())));
}

#[test]
fn whoever_comes_meanwhile_is_behind_it_and_does_not_wait() {
    let (_dir, held, log) = started(small());
    let guard = held.gate.lock().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| log.propose_inline(GroupId(0), b"first".to_vec()));
        wait(|| held.begun() == 2);
        log.propose_inline(GroupId(0), b"second".to_vec()).unwrap();
        log.propose(GroupId(0), b"third".to_vec()).unwrap();
        log.propose_inline(GroupId(1), b"fourth".to_vec()).unwrap();
        assert_eq!((log.state().queued_entries, held.begun()), (3, 2));
        let closed = scope.spawn(|| log.close());
        drop(guard);
        first.join().unwrap().unwrap();
        closed.join().unwrap();
    });
    // The close waited for all of them.
    let recorded = held.recorded.wait(0);
    let order: Vec<_> = recorded.committed.iter().map(|entry| &entry.data[..]).collect();
    assert_eq!(order[1..], [&b"first"[..], b"second", b"third", b"fourth"]);
}

#[test]
fn a_slow_disk_and_a_large_proposal_are_left_to_the_logs_thread() {
    let slow = LocalLogOptions { slow: Duration::ZERO, ..small() };
    let wide = LocalLogOptions { segment_bytes: 4 << 20, entry_bytes: 1 << 20, ..small() };
    for (options, bytes, here) in
        [(slow, 100, false), (wide.clone(), 100 << 10, true), (wide, 200 << 10, false)]
    {
        let (_dir, held, log) = started(options);
        log.propose_inline(GroupId(0), vec![1; bytes]).unwrap();
        held.recorded.wait(2);
        assert_eq!(held.last() == Some(thread::current().id()), here, "{bytes}");
    }
}

#[test]
fn a_proposer_begins_no_segment() {
    let (_dir, held, log) = started(small());
    let (mut here, mut begun) = (0, 0);
    for nth in 1..=60 {
        wait(|| log.is_unlocked());
        let before = log.state().segments;
        log.propose_inline(GroupId(0), vec![2; 1_000]).unwrap();
        held.recorded.wait(1 + nth);
        let own = held.last() == Some(thread::current().id());
        begun += usize::from(log.state().segments > before);
        here += usize::from(own);
        assert!(!own || log.state().segments == before, "the {nth}th");
    }
    assert!(begun > 5 && here + begun == 60, "{begun} segments begun, {here} of 60 written here");
}

#[test]
fn a_failure_in_a_proposers_turn_ends_the_log_for_those_behind_it() {
    let (fatal, gate) = (Arc::<AtomicU64>::default(), Arc::new(Mutex::new(())));
    let (reported, held_up, writes) = (fatal.clone(), gate.clone(), Arc::<AtomicU64>::default());
    let counted = writes.clone();
    let fault = Fault(Arc::new(move |op| {
        if op != Op::Sync || counted.fetch_add(1, Ordering::SeqCst) != 2 {
            return Ok(());
        }
        drop(held_up.lock().unwrap());
        Err(ErrorKind::Other.into())
    }));
    let on_fatal = OnFatal::new(move |_| {
        reported.fetch_add(1, Ordering::SeqCst);
    });
    let (_dir, held, log) = started(LocalLogOptions { fault: Some(fault), on_fatal, ..small() });
    log.propose_inline(GroupId(0), b"good".to_vec()).unwrap();
    let guard = gate.lock().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| log.propose_inline(GroupId(0), b"lost".to_vec()));
        wait(|| writes.load(Ordering::SeqCst) == 3);
        log.propose_inline(GroupId(0), b"behind it".to_vec()).unwrap();
        drop(guard);
        first.join().unwrap().unwrap();
    });
    for nth in [1, 3] {
        let closed = super::conformance::propose(&log, nth, GroupId(0), vec![1]);
        assert_eq!(closed, Err(ProposeError::Closed));
    }
    log.close();
    let recorded = held.recorded.wait(0);
    assert_eq!((recorded.committed.len(), recorded.refused.len(), fatal.load(Ordering::SeqCst)), (2, 0, 1));
    assert_eq!(writes.load(Ordering::SeqCst), 3, "it was written to after the failure");
}

#[test]
fn a_panic_in_a_proposers_turn_ends_the_log() {
    let fatal = Arc::<AtomicU64>::default();
    let reported = fatal.clone();
    let on_fatal = OnFatal::new(move |_| {
        reported.fetch_add(1, Ordering::SeqCst);
    });
    let (_dir, held, log) = started(LocalLogOptions { on_fatal, ..small() });
    held.panics.store(1, Ordering::SeqCst);
    let call = || log.propose_inline(GroupId(0), b"first".to_vec());
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(log.propose_inline(GroupId(0), b"second".to_vec()), Err(ProposeError::Closed));
    log.close();
    assert_eq!(fatal.load(Ordering::SeqCst), 1);
}

/// A sink that can be held.
#[derive(Default)]
pub(super) struct Held {
    pub gate: Mutex<()>,
    pub recorded: Recorder,
    /// How many groups it received, and the thread of the last.
    begun: AtomicU64,
    thread: Mutex<Option<ThreadId>>,
    /// Panics if it is not 0.
    panics: AtomicU64,
}

impl Held {
    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    fn last(&self) -> Option<ThreadId> {
        *self.thread.lock().unwrap()
    }
}

impl CommitSink for Held {
    fn committed(&self, entries: Vec<Entry>) {
        *self.thread.lock().unwrap() = Some(thread::current().id());
        assert_eq!(self.panics.load(Ordering::SeqCst), 0, "as the test wants");
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _gate = self.gate.lock().unwrap();
        self.recorded.committed(entries);
    }

    fn refused(&self, group: GroupId, proposals: Vec<bytes::Bytes>, why: ProposeError) {
        self.recorded.refused(group, proposals, why);
    }
}

//! The contract of every log; each implementation's tests run all of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use bytes::Bytes;

use super::{
    CommitSink, Entry, GroupId, Log, ProposeError,
    local::LocalLog,
    memory::{MemDisk, MemLog},
    options::LocalLogOptions,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// A log's disk: it can be started again and again, and made full.
trait Subject {
    type Running: Log;
    fn start(&mut self, sink: Arc<dyn CommitSink>) -> Self::Running;
    fn groups(&mut self) -> BTreeMap<GroupId, (u64, u64)>;
    fn entries(&mut self, group: GroupId, after: u64) -> Vec<Entry>;
    fn set_full(&mut self, full: bool);
}

/// Options that make a small test meet every boundary.
pub(super) fn small() -> LocalLogOptions {
    LocalLogOptions {
        segment_bytes: 32 << 10,
        // Faults are counted, so nothing else may make files meanwhile; and a failing write writes half a group.
        preallocated_segments: false,
        recycle_above_free_bytes: None,
        direct_writes: false,
        group_bytes: 4 << 10,
        entry_bytes: 100 << 10,
        queued_bytes: 64 << 10,
        patience: DEADLINE,
        full_for: Duration::ZERO,
        slow: DEADLINE,
        lazy: true,
        on_fatal: super::options::OnFatal::new(|what| panic!("{what}")),
        ..LocalLogOptions::default()
    }
}

/// Records what was reported to it.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    recorded: Mutex<Recorded>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Recorded {
    pub committed: Vec<Entry>,
    pub refused: Vec<(GroupId, Bytes, ProposeError)>,
}

impl Recorder {
    /// Waits until this many proposals were decided.
    pub fn wait(&self, decided: usize) -> Recorded {
        let recorded = self.recorded.lock().unwrap();
        let few = |recorded: &mut Recorded| recorded.committed.len() + recorded.refused.len() < decided;
        let (recorded, timeout) = self.changed.wait_timeout_while(recorded, DEADLINE, few).unwrap();
        assert!(
            !timeout.timed_out(),
            "only {} committed, {} refused",
            recorded.committed.len(),
            recorded.refused.len()
        );
        recorded.clone()
    }
}

impl CommitSink for Recorder {
    fn committed(&self, entries: Vec<Entry>) {
        self.recorded.lock().unwrap().committed.extend(entries);
        self.changed.notify_all();
    }

    fn refused(&self, group: GroupId, proposals: Vec<Bytes>, why: ProposeError) {
        let refused = proposals.into_iter().map(|data| (group, data, why.clone()));
        self.recorded.lock().unwrap().refused.extend(refused);
        self.changed.notify_all();
    }
}

fn payload(group: u16, nth: u64) -> Vec<u8> {
    let mut data = format!("{group}/{nth}/").into_bytes();
    data.resize(data.len() + (nth as usize * 37) % 900, b'.');
    data
}

/// Proposes in one of the two ways.
pub(super) fn propose(log: &impl Log, nth: u64, group: GroupId, data: Vec<u8>) -> Result<(), ProposeError> {
    if nth.is_multiple_of(3) { log.propose_inline(group, data) } else { log.propose(group, data) }
}

fn conforms<S: Subject>(mut make: impl FnMut() -> S) {
    indices_follow_the_calls(&mut make());
    what_was_committed_is_there_after_a_restart(&mut make());
    order_holds_between_many_proposers(&mut make());
    close_finishes_what_was_proposed(&mut make());
    too_large_takes_nothing(&mut make());
    trimmed_entries_never_give_their_index_away(&mut make());
    a_full_disk_refuses_in_order_and_takes_no_index(&mut make());
}

fn indices_follow_the_calls(subject: &mut impl Subject) {
    let sink = Arc::new(Recorder::default());
    let log = subject.start(sink.clone());
    for nth in 1..=50 {
        log.propose(GroupId(3), payload(3, nth)).unwrap();
        log.propose(GroupId::CATALOGUE, payload(9, nth)).unwrap();
    }
    log.propose(GroupId(4), Vec::new()).unwrap();
    let recorded = sink.wait(101);
    for (group, tag) in [(GroupId(3), 3), (GroupId::CATALOGUE, 9)] {
        let own: Vec<_> = recorded.committed.iter().filter(|entry| entry.group == group).collect();
        assert_eq!(own.len(), 50);
        for (nth, entry) in (1..).zip(own) {
            assert_eq!((entry.index, &entry.data[..]), (nth, &payload(tag, nth)[..]));
        }
    }
    assert!(log.bytes_since_trim() > 0);
    assert!(recorded.refused.is_empty());
}

fn what_was_committed_is_there_after_a_restart(subject: &mut impl Subject) {
    let mut expected = Vec::new();
    for run in 0..3 {
        let sink = Arc::new(Recorder::default());
        let log = subject.start(sink.clone());
        for nth in 1..=100 {
            propose(&log, nth, GroupId(1), payload(run, nth)).unwrap();
        }
        sink.wait(100);
        drop(log);
        expected.extend((1..=100).map(|nth| payload(run, nth)));
        let count = expected.len() as u64;
        assert_eq!(subject.groups(), BTreeMap::from([(GroupId(1), (1, count))]));
        let found: Vec<_> =
            subject.entries(GroupId(1), 0).into_iter().map(|entry| entry.data.to_vec()).collect();
        assert_eq!(found, expected);
    }
    let tail = subject.entries(GroupId(1), 298);
    assert_eq!(tail.iter().map(|entry| entry.index).collect::<Vec<_>>(), [299, 300]);
    assert!(subject.entries(GroupId(1), 300).is_empty());
    assert!(subject.entries(GroupId(2), 0).is_empty());
}

fn order_holds_between_many_proposers(subject: &mut impl Subject) {
    let sink = Arc::new(Recorder::default());
    let log = subject.start(sink.clone());
    std::thread::scope(|scope| {
        for group in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for nth in 1..=300 {
                    propose(log, nth, GroupId(group), payload(group, nth)).unwrap();
                }
            });
        }
    });
    let recorded = sink.wait(8 * 300);
    log.close();
    for group in 0..8 {
        let own: Vec<_> =
            recorded.committed.iter().filter(|entry| entry.group == GroupId(group)).cloned().collect();
        for (nth, entry) in (1..).zip(&own) {
            assert_eq!((entry.index, &entry.data[..]), (nth, &payload(group, nth)[..]));
        }
        drop(own);
    }
    drop(log);
    for group in 0..8 {
        let found = subject.entries(GroupId(group), 0);
        assert!(found.iter().eq(recorded.committed.iter().filter(|entry| entry.group == GroupId(group))));
        assert_eq!(found.len(), 300);
    }
}

fn close_finishes_what_was_proposed(subject: &mut impl Subject) {
    let sink = Arc::new(Recorder::default());
    let log = subject.start(sink.clone());
    for nth in 1..=40 {
        propose(&log, nth, GroupId(0), payload(0, nth)).unwrap();
    }
    log.close();
    assert_eq!(sink.recorded.lock().unwrap().committed.len(), 40);
    for nth in [1, 3] {
        assert_eq!(propose(&log, nth, GroupId(0), Vec::new()), Err(ProposeError::Closed));
    }
    log.close();
}

fn too_large_takes_nothing(subject: &mut impl Subject) {
    let sink = Arc::new(Recorder::default());
    let log = subject.start(sink.clone());
    let (bytes, limit) = ((100 << 10) + 1, 100 << 10);
    for nth in [1, 3] {
        let too_large = propose(&log, nth, GroupId(0), vec![1; bytes]);
        assert_eq!(too_large, Err(ProposeError::TooLarge { bytes, limit }));
    }
    log.propose(GroupId(0), vec![2; limit]).unwrap();
    assert_eq!(sink.wait(1).committed[0].index, 1);
    drop(log);
    assert_eq!(&subject.entries(GroupId(0), 0)[0].data[..], &vec![2; limit][..]);
}

fn trimmed_entries_never_give_their_index_away(subject: &mut impl Subject) {
    let sink = Arc::new(Recorder::default());
    let log = subject.start(sink.clone());
    log.propose(GroupId(7), payload(7, 1)).unwrap();
    for nth in 1..=200 {
        log.propose(GroupId(0), payload(0, nth)).unwrap();
    }
    sink.wait(201);
    log.trim(&BTreeMap::from([(GroupId(0), 150)])).unwrap();
    assert_eq!(log.bytes_since_trim(), 0);
    drop(log);
    assert_eq!(subject.entries(GroupId(7), 0).len(), 1, "a group that is not named keeps everything");
    let remaining = subject.entries(GroupId(0), 150);
    assert_eq!(remaining.len(), 50);

    let log = subject.start(sink.clone());
    log.trim(&BTreeMap::from([(GroupId(0), 200), (GroupId(7), 1)])).unwrap();
    drop(log);
    assert_eq!(subject.groups()[&GroupId(0)].1, 200);
    assert_eq!(subject.groups()[&GroupId(7)].1, 1);

    let log = subject.start(sink.clone());
    log.propose(GroupId(7), payload(7, 2)).unwrap();
    log.propose(GroupId(0), payload(0, 201)).unwrap();
    let recorded = sink.wait(203);
    assert_eq!((recorded.committed[201].index, recorded.committed[202].index), (2, 201));
}

fn a_full_disk_refuses_in_order_and_takes_no_index(subject: &mut impl Subject) {
    let sink = Arc::new(Recorder::default());
    let log = subject.start(sink.clone());
    log.propose(GroupId(0), payload(0, 1)).unwrap();
    sink.wait(1);
    subject.set_full(true);
    for nth in 1..=20 {
        propose(&log, nth, GroupId(0), payload(0, 100 + nth)).unwrap();
    }
    let recorded = sink.wait(21);
    assert_eq!(recorded.committed.len(), 1);
    for (nth, (group, data, why)) in (1..).zip(&recorded.refused) {
        assert_eq!((*group, &data[..], why), (GroupId(0), &payload(0, 100 + nth)[..], &ProposeError::Full));
    }
    subject.set_full(false);
    log.propose(GroupId(0), payload(0, 2)).unwrap();
    assert_eq!(sink.wait(22).committed[1].index, 2);
    drop(log);
    let found: Vec<_> = subject.entries(GroupId(0), 0).into_iter().map(|entry| entry.data.to_vec()).collect();
    assert_eq!(found, [payload(0, 1), payload(0, 2)]);
}

struct InMemory(MemDisk);

impl Subject for InMemory {
    type Running = MemLog;

    fn start(&mut self, sink: Arc<dyn CommitSink>) -> MemLog {
        MemLog::start(self.0.clone(), &small(), sink).unwrap()
    }

    fn groups(&mut self) -> BTreeMap<GroupId, (u64, u64)> {
        self.0.groups()
    }

    fn entries(&mut self, group: GroupId, after: u64) -> Vec<Entry> {
        self.0.entries(group, after)
    }

    fn set_full(&mut self, full: bool) {
        self.0.set_full(full);
    }
}

struct OnDisk {
    dir: tempfile::TempDir,
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl OnDisk {
    fn options(&self) -> LocalLogOptions {
        use super::disk::tests::{Fault, Op};
        let full = self.full.clone();
        let space = std::sync::atomic::AtomicU64::new(0);
        let fault = Fault(Arc::new(move |op| {
            use std::sync::atomic::Ordering::SeqCst;
            // Taking back what was half written succeeds, as it does where the space was allocated before.
            let fails = full.load(SeqCst) && op == Op::Write && space.fetch_add(1, SeqCst).is_multiple_of(2);
            if fails { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }));
        LocalLogOptions { fault: Some(fault), lazy: false, ..small() }
    }
}

impl Subject for OnDisk {
    type Running = LocalLog;

    fn start(&mut self, sink: Arc<dyn CommitSink>) -> LocalLog {
        LocalLog::open(self.dir.path(), self.options()).unwrap().start(sink).unwrap()
    }

    fn groups(&mut self) -> BTreeMap<GroupId, (u64, u64)> {
        LocalLog::open(self.dir.path(), self.options()).unwrap().groups()
    }

    fn entries(&mut self, group: GroupId, after: u64) -> Vec<Entry> {
        let mut found = Vec::new();
        let log = LocalLog::open(self.dir.path(), self.options()).unwrap();
        log.replay(group, after, &mut |entry| {
            found.push(entry);
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        found
    }

    fn set_full(&mut self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn the_log_in_memory_conforms() {
    conforms(|| InMemory(MemDisk::default()));
}

#[test]
fn the_local_log_conforms() {
    conforms(|| OnDisk { dir: tempfile::tempdir().unwrap(), full: Arc::default() });
}

//! A log on a failing or full disk: what was confirmed is there, what was refused is not.

use std::{
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    GroupId, Log, ProposeError,
    conformance::{Recorder, propose, small},
    disk::tests::{Fault, Op},
    local::LocalLog,
    options::{LocalLogOptions, OnFatal},
    recovery_tests::{begin, read},
    write_lock_tests::Held,
};

/// A disk whose nth call of a kind fails.
fn failing(op: Op, nth: u64, kind: ErrorKind) -> Fault {
    let calls = AtomicU64::new(0);
    Fault(Arc::new(move |called| {
        let fails = called == op && calls.fetch_add(1, Ordering::SeqCst) + 1 == nth;
        if fails { Err(kind.into()) } else { Ok(()) }
    }))
}

fn fails_for_good(op: Op, nth: u64, way: u64) {
    let dir = tempfile::tempdir().unwrap();
    let fatal: Arc<Mutex<Vec<String>>> = Arc::default();
    let reported = fatal.clone();
    let options = LocalLogOptions {
        fault: Some(failing(op, nth, ErrorKind::Other)),
        on_fatal: OnFatal::new(move |what| reported.lock().unwrap().push(what.to_owned())),
        ..small()
    };
    let sink = Arc::new(Recorder::default());
    let log = LocalLog::open(dir.path(), options).unwrap().start(sink.clone()).unwrap();
    let mut accepted: u64 = 0;
    while propose(&log, way, GroupId(0), vec![1; 6_000]).is_ok() {
        accepted += 1;
        assert!(accepted < 1_000, "the log goes on after a failure");
    }
    assert_eq!(log.propose(GroupId(0), vec![1]), Err(ProposeError::Closed));
    log.close();
    assert_eq!(fatal.lock().unwrap().len(), 1);
    let recorded = sink.wait(0);
    assert!((recorded.committed.len() as u64) < accepted && recorded.refused.is_empty());
    let found = read(dir.path(), &small()).unwrap();
    let remaining = found.get(&GroupId(0)).map_or(&[][..], |entries| &entries[..]);
    assert!(remaining.len() >= recorded.committed.len());
    assert!(remaining.iter().take(recorded.committed.len()).eq(&recorded.committed));
}

#[test]
fn a_failed_write_or_sync_ends_the_log() {
    for way in [1, 3] {
        for nth in [2, 3, 9] {
            fails_for_good(Op::Write, nth, way);
            fails_for_good(Op::Sync, nth, way);
        }
        fails_for_good(Op::Reserve, 2, way);
    }
}

#[test]
fn a_disk_that_is_full_again_and_again_loses_nothing_and_resurrects_nothing() {
    for (op, every, worn) in [(Op::Reserve, 3), (Op::Write, 5), (Op::Sync, 7)]
        .into_iter()
        .flat_map(|(op, every)| [false, true].map(|worn| (op, every, worn)))
    {
        let dir = tempfile::tempdir().unwrap();
        let options = begin(dir.path(), worn);
        let on = Arc::new(AtomicBool::new(false));
        let (armed, calls) = (on.clone(), Mutex::new((0_u64, false)));
        let fault = Fault(Arc::new(move |called| {
            let mut calls = calls.lock().unwrap();
            let (count, failed) = *calls;
            if called != op || !armed.load(Ordering::SeqCst) {
                return Ok(());
            }
            // Out of step with the segments, and never twice in a row: a write that takes a group back finds space.
            let fails = !failed && (count * count + count / 3).is_multiple_of(every);
            *calls = (count + 1, fails);
            if fails { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        }));
        let options = LocalLogOptions { fault: Some(fault), ..options };
        let sink = Arc::new(Recorder::default());
        let log = LocalLog::open(dir.path(), options).unwrap().start(sink.clone()).unwrap();
        on.store(true, Ordering::SeqCst);
        for nth in 0..200_usize {
            propose(&log, nth as u64 / 2, GroupId((nth % 3) as u16), nth.to_le_bytes().repeat(nth * 5))
                .unwrap();
        }
        let recorded = sink.wait(200);
        assert!(!recorded.refused.is_empty() || op == Op::Reserve, "{op:?} never failed");
        // As after a kill: without the mark of a clean close.
        std::mem::forget(log);
        let found = read(dir.path(), &small()).unwrap();
        for group in 0..3 {
            let own = recorded.committed.iter().filter(|entry| entry.group == GroupId(group));
            assert!(found[&GroupId(group)].iter().eq(own), "{op:?}, group {group}");
        }
    }
}

#[test]
fn proposals_are_refused_when_too_much_waits() {
    let dir = tempfile::tempdir().unwrap();
    let held = Arc::new(Held::default());
    let options = LocalLogOptions { patience: Duration::from_millis(1), ..small() };
    let log = LocalLog::open(dir.path(), options).unwrap().start(held.clone()).unwrap();
    let guard = held.gate.lock().unwrap();
    let mut accepted = 0;
    let busy = loop {
        match log.propose(GroupId(0), vec![0; 1 << 10]) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1_000, "nothing bounds the queue");
    };
    assert_eq!(busy, ProposeError::Busy);
    drop(guard);
    log.close();
    assert_eq!(held.recorded.wait(accepted).committed.len(), accepted);
}

//! A log whose segments are made in advance and written past the page cache, as a server has it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Entry, GroupId, Log,
    conformance::{Recorder, small},
    local::LocalLog,
    options::LocalLogOptions,
    preallocate, segment,
    writer::Writer,
};

pub(super) const GROUP: GroupId = GroupId(3);
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn options() -> LocalLogOptions {
    let recycle_above_free_bytes = Some(0);
    LocalLogOptions {
        preallocated_segments: true,
        direct_writes: true,
        lazy: false,
        recycle_above_free_bytes,
        ..small()
    }
}

pub(super) fn writer(dir: &Path) -> Writer {
    LocalLog::open(dir, options()).unwrap().into_writer().unwrap()
}

pub(super) fn append(writer: &mut Writer, number: u64) {
    writer.append(&[(GROUP, data(number).into())]).unwrap();
}

pub(super) fn data(number: u64) -> Vec<u8> {
    vec![u8::try_from(number % 256).unwrap(); 1_000 + usize::try_from(number).unwrap() % 3_000]
}

pub(super) fn entries(dir: &Path) -> Vec<Entry> {
    let log = LocalLog::open(dir, options()).unwrap();
    let mut entries = Vec::new();
    log.replay(GROUP, 0, &mut |entry| {
        entries.push(entry);
        Ok::<_, std::convert::Infallible>(())
    })
    .unwrap();
    entries
}

fn assert_whole(dir: &Path, count: u64) {
    let found = entries(dir);
    assert_eq!(found.len() as u64, count);
    for (entry, number) in found.iter().zip(0..) {
        assert_eq!((entry.index, &entry.data[..]), (number + 1, &data(number)[..]));
    }
}

pub(super) fn segments(dir: &Path) -> Vec<u64> {
    let found = segment::list(dir).unwrap();
    found.iter().map(|(_, path)| fs::metadata(path).unwrap().ino()).collect()
}

/// Waits until a segment has been made in advance.
fn wait_for_prepared(writer: &mut Writer) {
    let start = Instant::now();
    while !writer.preallocator.as_mut().unwrap().is_ready() {
        assert!(start.elapsed() < DEADLINE, "no segment was made in advance");
        std::thread::yield_now();
    }
}

#[test]
fn the_next_segment_is_the_one_that_was_made_in_advance() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    // A block each, and the header: more than half of the segment.
    let mut number = 4;
    (0..number).for_each(|number| append(&mut writer, number));
    assert_eq!(segments(dir.path()).len(), 1);
    wait_for_prepared(&mut writer);
    let made = fs::metadata(dir.path().join(preallocate::NAME)).unwrap().ino();
    while segments(dir.path()).len() == 1 {
        append(&mut writer, number);
        number += 1;
    }
    assert_eq!(segments(dir.path())[1], made);
    drop(writer);
    assert_whole(dir.path(), number);
}

#[test]
fn many_segments_come_back_whole_and_a_left_spare_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut number = 0;
    for _ in 0..4 {
        fs::write(dir.path().join(preallocate::NAME), vec![0xEE; 100_000]).unwrap();
        let mut writer = writer(dir.path());
        for _ in 0..60 {
            append(&mut writer, number);
            number += 1;
        }
        drop(writer);
        assert_whole(dir.path(), number);
    }
    assert!(segments(dir.path()).len() > 10);
}

#[test]
fn what_is_confirmed_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let log = LocalLog::open(dir.path(), options()).unwrap();
    let log = log.start(Arc::<Recorder>::clone(&recorder)).unwrap();
    for number in 0..200 {
        log.propose(GROUP, data(number)).unwrap();
    }
    assert_eq!(recorder.wait(200).committed.len(), 200);
    // As a kill would find it: nothing was closed.
    assert_whole(dir.path(), 200);
    log.close();
    assert_whole(dir.path(), 200);
}

#[test]
fn a_spare_that_comes_late_is_never_made_twice() {
    // Segments are full sooner than the next is made: again and again a roll goes without, while one is under way.
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.segment_bytes = 16 << 10;
    let mut writer = LocalLog::open(dir.path(), options).unwrap().into_writer().unwrap();
    let count = 2_000;
    (0..count).for_each(|number| append(&mut writer, number));
    drop(writer);
    assert_whole(dir.path(), count);
}

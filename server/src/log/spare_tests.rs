//! A log whose segments are made in advance and written past the page cache, as a server has it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conformance::{Recorder, small};
use super::local::{LocalLog, LocalLogOptions};
use super::recovery_tests::last_group;
use super::writer::Writer;
use super::{Entry, GroupId, Log, segment, spare};

const GROUP: GroupId = GroupId(3);
const DEADLINE: Duration = Duration::from_secs(30);

fn options() -> LocalLogOptions {
    let reuse_above_free_bytes = Some(0);
    LocalLogOptions {
        spare_segments: true,
        direct_writes: true,
        lazy: false,
        reuse_above_free_bytes,
        ..small()
    }
}

fn writer(dir: &Path) -> Writer {
    LocalLog::open(dir, options()).unwrap().into_writer().unwrap()
}

fn append(writer: &mut Writer, number: u64) {
    writer.append(&[(GROUP, data(number).into())]).unwrap();
}

fn data(number: u64) -> Vec<u8> {
    vec![u8::try_from(number % 256).unwrap(); 1_000 + usize::try_from(number).unwrap() % 3_000]
}

fn entries(dir: &Path) -> Vec<Entry> {
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

fn segments(dir: &Path) -> Vec<u64> {
    let found = segment::list(dir).unwrap();
    found.iter().map(|(_, path)| fs::metadata(path).unwrap().ino()).collect()
}

/// Waits until a segment has been made in advance.
fn wait_for_spare(writer: &mut Writer) {
    let start = Instant::now();
    while !writer.spares.as_mut().unwrap().is_ready() {
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
    wait_for_spare(&mut writer);
    let made = fs::metadata(dir.path().join(spare::NAME)).unwrap().ino();
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
        fs::write(dir.path().join(spare::NAME), vec![0xEE; 100_000]).unwrap();
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

/// Appends until there is another segment, and returns the number of the next entry.
fn fill_segment(writer: &mut Writer, dir: &Path, mut number: u64) -> u64 {
    let last = segments(dir).pop();
    while segments(dir).pop() == last {
        append(writer, number);
        number += 1;
    }
    number
}

/// All before this entry is needed no more.
fn trim(writer: &Writer, number: u64) {
    writer.kept().trim(&BTreeMap::from([(GROUP, number)])).unwrap();
}

fn waiting(dir: &Path) -> Vec<u64> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let waiting = paths.filter(|path| path.extension().is_some_and(|it| it == "spare"));
    waiting.map(|path| fs::metadata(path).unwrap().ino()).collect()
}

#[test]
fn files_of_segments_that_are_trimmed_are_segments_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let mut number = 0;
    (0..3).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    trim(&writer, number);
    let mut old = waiting(dir.path());
    assert_eq!(old.len(), 3);
    let first = number;
    // They are found again after a start, and are used up before others are made.
    drop(writer);
    let mut writer = self::writer(dir.path());
    for left in (0..3).rev() {
        number = fill_segment(&mut writer, dir.path(), number);
        let used = segments(dir.path()).pop().unwrap();
        assert!(old.contains(&used));
        old.retain(|it| *it != used);
        assert_eq!(waiting(dir.path()).len(), left);
        // As a kill would find it: whole, and not taken for torn.
        let log = LocalLog::open(dir.path(), options()).unwrap();
        assert!(log.torn_tail().is_none(), "{:?}", log.torn_tail());
    }
    drop(writer);
    let found = entries(dir.path());
    assert_eq!(found.last().unwrap().index, number);
    let kept = found.iter().filter(|entry| entry.index > first);
    assert!(kept.clone().count() as u64 == number - first);
    assert!(kept.clone().all(|entry| entry.data[..] == data(entry.index - 1)));
}

#[test]
fn no_more_files_are_kept_than_may_wait_and_none_of_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let mut number = 0;
    (0..12).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    trim(&writer, number);
    assert_eq!((segments(dir.path()).len(), waiting(dir.path()).len()), (1, 6));
    drop(writer);
    let log = LocalLog::open(dir.path(), LocalLogOptions { segment_bytes: 64 << 10, ..options() }).unwrap();
    drop(log.into_writer().unwrap());
    assert_eq!(waiting(dir.path()).len(), 0);
}

#[test]
fn files_do_not_wait_on_a_disk_with_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let mut number = 0;
    (0..3).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    trim(&writer, number);
    assert_eq!(waiting(dir.path()).len(), 3);
    drop(writer);
    let narrow = || LocalLogOptions { reuse_above_free_bytes: Some(u64::MAX), ..options() };
    let mut writer = LocalLog::open(dir.path(), narrow()).unwrap().into_writer().unwrap();
    assert_eq!(waiting(dir.path()).len(), 0);
    number = fill_segment(&mut writer, dir.path(), number);
    trim(&writer, number);
    assert_eq!((segments(dir.path()).len(), waiting(dir.path()).len()), (1, 0));
    // Those that wait already go with the next trim.
    fs::write(dir.path().join("7.spare"), [1; 1_000]).unwrap();
    writer.kept().reuse.add(dir.path().join("7.spare"));
    trim(&writer, number);
    assert_eq!(waiting(dir.path()).len(), 0);
}

#[test]
fn a_file_that_has_another_name_or_would_take_one_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let mut number = 0;
    (0..3).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    let found = segment::list(dir.path()).unwrap();
    fs::hard_link(&found[0].1, dir.path().join("copy")).unwrap();
    fs::write(found[1].1.with_extension("spare"), "somebody's").unwrap();
    let before = fs::read(dir.path().join("copy")).unwrap();
    trim(&writer, number);
    (0..2).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    assert_eq!(fs::read(dir.path().join("copy")).unwrap(), before);
    assert_eq!(fs::read(found[1].1.with_extension("spare")).unwrap(), b"somebody's");
}

#[test]
fn a_file_that_was_about_to_be_used_again_at_a_crash_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let mut number = 0;
    (0..3).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    trim(&writer, number);
    drop(writer);
    // Between its renaming and the renaming that makes it a segment.
    let (last, path) = segment::list(dir.path()).unwrap().pop().unwrap();
    let spare = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let spare = spare.filter(|path| path.extension().is_some_and(|it| it == "spare")).max().unwrap();
    fs::rename(spare, segment::path_of(dir.path(), last + 1).with_extension("new")).unwrap();
    assert!(path.exists());
    let first = number;
    let mut writer = self::writer(dir.path());
    (0..4).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    drop(writer);
    let found = entries(dir.path());
    let kept = found.iter().filter(|entry| entry.index > first);
    assert!(kept.clone().count() as u64 == number - first);
    assert!(kept.clone().all(|entry| entry.data[..] == data(entry.index - 1)));
}

#[test]
fn a_group_that_was_torn_in_a_file_used_again_is_told_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let mut number = 0;
    (0..2).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    trim(&writer, number);
    number = fill_segment(&mut writer, dir.path(), number);
    append(&mut writer, number);
    drop(writer);
    let (path, from, _) = last_group(dir.path());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Behind the group's own header.
    file.write_all_at(&[0xEE; 50], from + 100).unwrap();
    let log = LocalLog::open(dir.path(), options()).unwrap();
    assert!(log.torn_tail().is_some());
    drop(log.into_writer().unwrap());
    assert!(LocalLog::open(dir.path(), options()).unwrap().torn_tail().is_none());
    assert_eq!(entries(dir.path()).last().unwrap().index, number);
}

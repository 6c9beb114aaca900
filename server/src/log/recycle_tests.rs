//! A log whose segments are made of the files of trimmed ones.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use super::{
    local::LocalLog,
    options::LocalLogOptions,
    preallocate_tests::{self, GROUP, append, data, entries, options, segments},
    recovery_tests::last_group,
    segment,
    writer::Writer,
};

/// Appends until there is another segment, and returns the number of the next entry.
fn fill_segment(writer: &mut Writer, dir: &Path, mut number: u64) -> u64 {
    let last = segments(dir).pop();
    while segments(dir).pop() == last {
        append(writer, number);
        number += 1;
    }
    number
}

/// A new log that has filled this many segments, and the number of the next entry.
fn filled(dir: &Path, segments: usize) -> (Writer, u64) {
    let mut writer = preallocate_tests::writer(dir);
    let number = (0..segments).fold(0, |number, _| fill_segment(&mut writer, dir, number));
    (writer, number)
}

/// The entries behind `first` are there and whole, up to the one before `number`.
fn assert_whole(dir: &Path, first: u64, number: u64) {
    let found = entries(dir);
    let remaining: Vec<_> = found.iter().filter(|entry| entry.index > first).collect();
    assert_eq!(remaining.len() as u64, number - first);
    assert!(remaining.iter().all(|entry| entry.data[..] == data(entry.index - 1)));
    assert_eq!(found.last().unwrap().index, number);
}

/// All before this entry is needed no more.
fn trim(writer: &Writer, number: u64) {
    writer.sealed().trim(&BTreeMap::from([(GROUP, number)])).unwrap();
}

fn waiting(dir: &Path) -> Vec<u64> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let waiting = paths.filter(|path| path.extension().is_some_and(|it| it == "spare"));
    waiting.map(|path| fs::metadata(path).unwrap().ino()).collect()
}

#[test]
fn files_of_segments_that_are_trimmed_are_segments_again() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, mut number) = filled(dir.path(), 3);
    trim(&writer, number);
    let mut old = waiting(dir.path());
    assert_eq!(old.len(), 3);
    let first = number;
    // They are found again after a start, and are used up before others are made.
    drop(writer);
    let mut writer = preallocate_tests::writer(dir.path());
    for left in (0..3).rev() {
        number = fill_segment(&mut writer, dir.path(), number);
        let used = segments(dir.path()).pop().unwrap();
        assert!(old.contains(&used));
        old.retain(|it| *it != used);
        assert_eq!(waiting(dir.path()).len(), left);
        // As after a kill: whole, and not mistaken for torn.
        let log = LocalLog::open(dir.path(), options()).unwrap();
        assert!(log.torn_tail().is_none(), "{:?}", log.torn_tail());
    }
    drop(writer);
    assert_whole(dir.path(), first, number);
}

#[test]
fn no_more_files_are_kept_than_may_wait_and_none_of_another_size() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, number) = filled(dir.path(), 12);
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
    let (writer, mut number) = filled(dir.path(), 3);
    trim(&writer, number);
    assert_eq!(waiting(dir.path()).len(), 3);
    drop(writer);
    let narrow = || LocalLogOptions { recycle_above_free_bytes: Some(u64::MAX), ..options() };
    let mut writer = LocalLog::open(dir.path(), narrow()).unwrap().into_writer().unwrap();
    assert_eq!(waiting(dir.path()).len(), 0);
    number = fill_segment(&mut writer, dir.path(), number);
    trim(&writer, number);
    assert_eq!((segments(dir.path()).len(), waiting(dir.path()).len()), (1, 0));
    // Those that wait already go with the next trim.
    fs::write(dir.path().join("7.spare"), [1; 1_000]).unwrap();
    writer.sealed().recycled.add(dir.path().join("7.spare"));
    trim(&writer, number);
    assert_eq!(waiting(dir.path()).len(), 0);
}

#[test]
fn a_file_that_has_another_name_or_would_take_one_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut number) = filled(dir.path(), 3);
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
    let (writer, mut number) = filled(dir.path(), 3);
    trim(&writer, number);
    drop(writer);
    // Between its renaming and the renaming that makes it a segment.
    let (last, path) = segment::list(dir.path()).unwrap().pop().unwrap();
    let prepared = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let prepared = prepared.filter(|path| path.extension().is_some_and(|it| it == "spare")).max().unwrap();
    fs::rename(prepared, segment::path_of(dir.path(), last + 1).with_extension("new")).unwrap();
    assert!(path.exists());
    let first = number;
    let mut writer = preallocate_tests::writer(dir.path());
    (0..4).for_each(|_| number = fill_segment(&mut writer, dir.path(), number));
    drop(writer);
    assert_whole(dir.path(), first, number);
}

#[test]
fn a_group_that_was_torn_in_a_file_used_again_is_told_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut number) = filled(dir.path(), 2);
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

//! A log after a crash and after damage: what was confirmed is there, or the log is refused.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::{prelude::*, sample::Index};

use super::{
    Entry, GroupId, Log,
    conformance::{Recorder, small},
    errors::LogOpenError,
    format::{GroupHeader, GroupPosition, Kind, SegmentHeader, encode_group},
    local::LocalLog,
    options::LocalLogOptions,
};

/// The group of the entries that a recycled log had before.
const FORMER: GroupId = GroupId(77);

/// One sync's worth of entries.
type Group = Vec<(u16, Vec<u8>)>;

/// Writes each of `groups` as one group of the file: the committer is held until all of it waits.
fn write(dir: &Path, options: &LocalLogOptions, groups: &[Group], clean: bool) -> Vec<usize> {
    let log = LocalLog::open(dir, options.clone()).unwrap();
    let mut writer = log.into_writer().unwrap();
    let sizes = groups.iter().map(|group| {
        let proposals: Vec<_> = group.iter().map(|(id, data)| (GroupId(*id), data.clone().into())).collect();
        writer.append(&proposals).unwrap().len()
    });
    let sizes = sizes.collect();
    if clean {
        writer.mark().unwrap();
    }
    sizes
}

/// How a log is written in a new folder: if it is worn, its next segments are made of the files of earlier ones.
pub(super) fn begin(dir: &Path, worn: bool) -> LocalLogOptions {
    if !worn {
        return small();
    }
    let options = LocalLogOptions { recycle_above_free_bytes: Some(0), ..small() };
    let mut writer = LocalLog::open(dir, options.clone()).unwrap().into_writer().unwrap();
    let count = 60;
    for _ in 0..count {
        writer.append(&[(FORMER, vec![0xEE; 4_000].into())]).unwrap();
    }
    writer.sealed().trim(&BTreeMap::from([(FORMER, count)])).unwrap();
    assert!(writer.sealed().recycled.has_any());
    options
}

fn groups(max: usize) -> impl Strategy<Value = Vec<Group>> {
    let size = prop_oneof![4 => 0..200_usize, 2 => 200..5_000_usize, 1 => 5_000..20_000_usize];
    let data = (size, any::<u8>()).prop_map(|(size, fill)| vec![fill; size]);
    let group = prop::collection::vec((prop_oneof![0..5_u16, Just(0xFFFF)], data), 1..6);
    prop::collection::vec(group, 2..max)
}

/// Every entry of the log, by its group.
pub(super) fn read(
    dir: &Path,
    options: &LocalLogOptions,
) -> Result<BTreeMap<GroupId, Vec<Entry>>, LogOpenError> {
    let log = LocalLog::open(dir, options.clone())?;
    let mut all = BTreeMap::new();
    for group in log.groups().into_keys() {
        let mut entries = Vec::new();
        log.replay(group, 0, &mut |entry| {
            entries.push(entry);
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
        all.insert(group, entries);
    }
    all.remove(&FORMER);
    Ok(all)
}

/// The entries these groups make.
fn expected(groups: &[Group]) -> BTreeMap<GroupId, Vec<Entry>> {
    let mut all: BTreeMap<GroupId, Vec<Entry>> = BTreeMap::new();
    for (id, data) in groups.iter().flatten() {
        let entries = all.entry(GroupId(*id)).or_default();
        let index = entries.len() as u64 + 1;
        entries.push(Entry { group: GroupId(*id), index, data: data.clone().into() });
    }
    all
}

/// Requires all groups, or all but the last if nothing proves it, or a refusal.
fn whole_or_refused(dir: &Path, written: &[Group], proven: bool) -> Result<&'static str, TestCaseError> {
    match read(dir, &small()) {
        Err(LogOpenError::Io(error)) => Err(TestCaseError::fail(format!("{error}: {}", error.source))),
        Err(_) => Ok("refused"),
        Ok(found) if found == expected(written) => Ok("whole"),
        Ok(found) if !proven && found == expected(&written[..written.len() - 1]) => Ok("cut"),
        Ok(_) => Err(TestCaseError::fail("entries were lost silently")),
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    super::segment::list(dir).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// The last segment, and where its last group begins and ends.
pub(super) fn last_group(dir: &Path) -> (PathBuf, u64, u64) {
    let path = segments(dir).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let header = SegmentHeader::decode(&bytes[..SegmentHeader::length_of(&bytes).unwrap()]).unwrap();
    let (mut from, mut to) = (0, header.len());
    while let Some(group) = GroupHeader::decode(&bytes[to as usize..], header.nonce) {
        (from, to) = (to, to + group.len());
    }
    assert!(from > 0, "the last segment has a group");
    (path, from, to)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_log_comes_back(written in groups(30), clean: bool, worn: bool) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &begin(dir.path(), worn), &written, clean);
        prop_assert_eq!(read(dir.path(), &small()).unwrap(), expected(&written));
    }

    #[test]
    fn a_flipped_byte_never_loses_more_than_the_last_group(
        written in groups(12), clean: bool, worn: bool,
        flips in prop::collection::vec((any::<Index>(), any::<Index>(), 1..=255_u8), 40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &begin(dir.path(), worn), &written, clean);
        let files = segments(dir.path());
        for (file, at, flip) in flips {
            let path = file.get(&files);
            let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
            let at = at.index(file.metadata().unwrap().len() as usize) as u64;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ flip], at).unwrap();
            whole_or_refused(dir.path(), &written, clean)?;
            file.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn a_cut_file_is_refused(written in groups(12), file: Index, at: Index) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &small(), &written, false);
        let files = segments(dir.path());
        let path = file.get(&files);
        let len = fs::metadata(path).unwrap().len();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(at.index(len as usize) as u64).unwrap();
        prop_assert_eq!(whole_or_refused(dir.path(), &written, true)?, "refused");
    }

    #[test]
    fn a_missing_segment_is_refused(written in groups(30), file: Index) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &small(), &written, false);
        let files = segments(dir.path());
        prop_assume!(files.len() > 1);
        let path = file.get(&files);
        fs::remove_file(path).unwrap();
        let found = read(dir.path(), &small());
        if path == &files[0] {
            // Only the store's applied indices distinguish this from a trimmed log.
            let log = LocalLog::open(dir.path(), small()).unwrap();
            let error = log.check_applied(&BTreeMap::new());
            let nothing_lost = found.is_ok_and(|found| found == expected(&written));
            prop_assert!(nothing_lost || matches!(error, Err(LogOpenError::StoreBehind { .. })), "{error:?}");
        } else {
            prop_assert!(matches!(found, Err(LogOpenError::Missing { .. })), "{found:?}");
        }
    }

    /// A crash in mid-write leaves any subset of the last group's sectors; what was there before, were zeroes, or bytes
    /// of another segment.
    #[test]
    fn a_torn_group_is_cut_and_the_log_goes_on(
        written in groups(12), more in groups(6), torn in prop::collection::vec(any::<bool>(), 64), worn: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = begin(dir.path(), worn);
        write(dir.path(), &options, &written, false);
        let (path, from, to) = last_group(dir.path());
        let mut before = vec![0; 4_096];
        if worn {
            before.clear();
            let position = GroupPosition { nonce: 1, sequence: 9, previous_end: from };
            encode_group(&mut before, Kind::Data, position, &[]);
        }
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        for (sector, torn) in (from..to).step_by(512).zip(torn.into_iter().cycle()) {
            if torn {
                file.write_all_at(&before[..512], sector).unwrap();
            }
        }
        drop(file);
        let remaining = match whole_or_refused(dir.path(), &written, false)? {
            "whole" => written.len(),
            "cut" => written.len() - 1,
            other => return Err(TestCaseError::fail(other)),
        };
        let all: Vec<_> = written[..remaining].iter().chain(&more).cloned().collect();
        write(dir.path(), &options, &more, false);
        prop_assert_eq!(read(dir.path(), &small()).unwrap(), expected(&all));
    }

    #[test]
    fn trimming_keeps_what_is_not_applied(written in groups(40), share in 0..=100_u64) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &small(), &written, false);
        let all = expected(&written);
        let applied: BTreeMap<_, _> =
            all.iter().map(|(group, entries)| (*group, entries.len() as u64 * share / 100)).collect();
        let log = LocalLog::open(dir.path(), small()).unwrap().start(Arc::new(Recorder::default())).unwrap();
        log.trim(&applied).unwrap();
        drop(log);
        let log = LocalLog::open(dir.path(), small()).unwrap();
        log.check_applied(&applied).unwrap();
        for (group, entries) in all {
            let mut found = Vec::new();
            log.replay(group, applied[&group], &mut |entry| {
                found.push(entry);
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap();
            prop_assert_eq!(&found[..], &entries[applied[&group] as usize..]);
        }
    }
}

fn some_groups(count: usize) -> Vec<Group> {
    (0..count).map(|nth| vec![(1, vec![nth as u8; 3_000]), (2, vec![nth as u8; 10])]).collect()
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &small(), &some_groups(3), true);
    let file = fs::OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
    file.write_all_at(&3_u32.to_le_bytes(), 8).unwrap();
    let error = read(dir.path(), &small()).unwrap_err();
    assert!(matches!(error, LogOpenError::Newer { found: 3, known: 2, .. }));
    assert!(error.to_string().contains("start the version that wrote it"), "{error}");
}

#[test]
fn a_store_of_another_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &small(), &some_groups(3), true);
    let log = LocalLog::open(dir.path(), small()).unwrap();
    log.check_applied(&BTreeMap::from([(GroupId(1), 3)])).unwrap();
    let ahead = log.check_applied(&BTreeMap::from([(GroupId(1), 4)]));
    assert!(matches!(ahead, Err(LogOpenError::StoreAhead { applied: 4, last: 3, .. })), "{ahead:?}");
    let unknown = log.check_applied(&BTreeMap::from([(GroupId(9), 1)]));
    assert!(matches!(unknown, Err(LogOpenError::StoreAhead { applied: 1, last: 0, .. })), "{unknown:?}");
}

#[test]
fn segments_of_another_log_are_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), &small(), &some_groups(20), true);
    write(two.path(), &small(), &some_groups(20), true);
    fs::copy(&segments(two.path())[1], &segments(one.path())[1]).unwrap();
    assert!(matches!(read(one.path(), &small()), Err(LogOpenError::Damaged { .. })));
}

#[test]
fn a_payload_that_looks_like_a_group_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &small(), &some_groups(2), false);
    let foreign = fs::read(&segments(dir.path())[0]).unwrap();
    let other = tempfile::tempdir().unwrap();
    write(
        other.path(),
        &small(),
        &[vec![(0, b"first".to_vec())], vec![(0, foreign[4_032..20_000].to_vec())]],
        false,
    );
    let (path, from, _) = last_group(other.path());
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0; 512], from).unwrap();
    let found = read(other.path(), &small()).unwrap();
    assert_eq!(found[&GroupId(0)].len(), 1, "the torn group is cut");
}

#[test]
fn opening_changes_nothing_and_starting_cuts() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &small(), &some_groups(2), false);
    let (path, from, to) = last_group(dir.path());
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[7; 64], to - 2_000).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 100], from + 100).unwrap();
    let torn = fs::read(&path).unwrap();
    let log = LocalLog::open(dir.path(), small()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), torn);
    drop(log.start(Arc::new(Recorder::default())).unwrap());
    // The mark of the clean close is where the torn group began.
    let cut = &fs::read(&path).unwrap()[from as usize + 4_096..];
    assert!(cut.iter().all(|byte| *byte == 0));
}

//! The power-cut library, tested on a small program, step by step.

use std::{fs, path::Path, process::Command};

use posthouse_tests::{
    harness::binaries,
    powercut::{Lost, PowerCut, Unsynced},
};
use tempfile::TempDir;

/// A folder with one durable file `old`, the steps, and the folder after the power cut.
fn after(steps: &[&str]) -> (TempDir, Lost) {
    after_cut(steps, Unsynced::Dropped)
}

fn after_cut(steps: &[&str], unsynced: Unsynced) -> (TempDir, Lost) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("watched");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old"), "old").unwrap();
    let cut = PowerCut::watch(&folder);
    run(&cut, &folder, steps);
    let lost = cut.strike(unsynced).unwrap();
    (dir, lost)
}

fn run(cut: &PowerCut, folder: &Path, steps: &[&str]) {
    let mut probe = Command::new(binaries::powercut_probe());
    cut.arm(&mut probe);
    let status = probe.args(steps).current_dir(folder).status().unwrap();
    assert!(status.success(), "{steps:?}: {status}");
}

/// Runs steps, cuts the power, and compares the folder's files, in order, as `path=content`.
#[track_caller]
fn check(steps: &[&str], expected: &[&str]) {
    let (dir, _) = after(steps);
    assert_eq!(listing(&dir.path().join("watched"), ""), expected, "{steps:?}");
}

fn listing(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().display());
        if entry.metadata().unwrap().is_dir() {
            found.push(format!("{name}/"));
            found.extend(listing(&entry.path(), &format!("{name}/")));
        } else {
            found.push(format!("{name}={}", fs::read_to_string(entry.path()).unwrap().replace('\0', "_")));
        }
    }
    found.sort();
    found
}

#[test]
fn what_stood_there_before_stays() {
    check(&[], &["old=old"]);
}

#[test]
fn a_program_that_did_not_begin_took_nothing() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("old"), "old").unwrap();
    PowerCut::watch(dir.path()).strike(Unsynced::Dropped).unwrap();
    assert_eq!(listing(dir.path(), ""), ["old=old"]);
}

#[test]
fn what_is_synced_stays_and_what_is_not_goes() {
    check(&["write a one", "sync a", "write b two"], &["a=one", "old=old"]);
    check(&["write a one", "sync a", "append a two"], &["a=one", "old=old"]);
    check(&["append old er"], &["old=old"]);
    check(&["append old er", "sync old"], &["old=older"]);
}

#[test]
fn an_overwrite_is_as_durable_as_its_last_sync() {
    check(&["at old 1 L", "sync old", "at old 0 cold"], &["old=oLd"]);
    check(&["at old 0 cold", "sync old", "truncate old 1"], &["old=cold"]);
    check(&["truncate old 1", "append old dd", "sync old"], &["old=odd"]);
    check(&["truncate old 1", "truncate old 3", "sync old"], &["old=o__"]);
    check(&["write old new"], &["old=old"]);
}

#[test]
fn room_made_beforehand_reads_as_zeroes() {
    check(&["write a x", "allocate a 3", "sync a", "at a 1 yz"], &["a=x__", "old=old"]);
    check(&["write a x", "allocate a 3", "at a 1 y", "sync a", "at a 2 z"], &["a=xy_", "old=old"]);
}

#[test]
fn names_wait_for_their_folder() {
    check(&["write a one", "sync a", "rename a b"], &["a=one", "old=old"]);
    check(&["write a one", "sync a", "rename a b", "sync ."], &["b=one", "old=old"]);
    check(&["remove old"], &["old=old"]);
    check(&["remove old", "sync ."], &[]);
    check(&["write new newer", "sync new", "rename new old"], &["new=newer", "old=old"]);
    check(&["write new newer", "sync new", "rename new old", "sync ."], &["old=newer"]);
}

#[test]
fn a_name_without_its_bytes_is_an_empty_file() {
    check(&["write a one", "sync ."], &["a=", "old=old"]);
}

#[test]
fn a_new_file_brings_the_folders_above_it() {
    check(&["folder d", "write d/a one"], &["old=old"]);
    check(&["folder d", "write d/a one", "sync d/a"], &["d/", "d/a=one", "old=old"]);
    check(&["folder d", "sync ."], &["d/", "old=old"]);
}

#[test]
fn other_ways_of_writing_are_seen() {
    check(&["copy old new"], &["old=old"]);
    check(&["copy old new", "sync new"], &["new=old", "old=old"]);
    check(&["write a one", "sync a", "through a two"], &["a=two", "old=old"]);
}

#[test]
fn what_is_not_modelled_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("old"), "old").unwrap();
    let cut = PowerCut::watch(dir.path());
    let mut probe = Command::new(binaries::powercut_probe());
    cut.arm(&mut probe);
    let output = probe.args(["append old er", "map old"]).current_dir(dir.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("shared mapping"), "{error}");
    fs::remove_dir_all(dir.path().with_added_extension("mirror")).unwrap();
}

#[test]
fn a_program_that_only_ended_leaves_its_unsynced_bytes_in_doubt() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("watched");
    fs::create_dir(&folder).unwrap();
    let cut = PowerCut::watch(&folder);
    run(&cut, &folder, &["write a one", "sync a", "append a two"]);
    // The next program finds what is in the page cache, but that is not on disk before a sync.
    run(&cut, &folder, &["write b two", "sync b"]);
    cut.strike(Unsynced::Dropped).unwrap();
    assert_eq!(listing(&folder, ""), ["a=one", "b=two"]);
    run(&cut, &folder, &["append a two"]);
    run(&cut, &folder, &["append a three", "sync a"]);
    cut.strike(Unsynced::Dropped).unwrap();
    assert_eq!(listing(&folder, ""), ["a=onetwothree", "b=two"]);
}

#[test]
fn a_torn_write_keeps_a_beginning() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let steps = ["write a one", "sync a", "append a two"];
        let (dir, lost) = after_cut(&steps, Unsynced::Torn(seed));
        let content = fs::read_to_string(dir.path().join("watched/a")).unwrap();
        assert!("onetwo".starts_with(&content) && content.len() >= 3, "seed {seed}: {content}");
        assert!(lost.bytes > 0);
        seen.insert(content);
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn a_scattered_write_keeps_any_pages() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        // Three pages, of which only the length is durable.
        let steps = ["write a x", "truncate a 12288", "sync a", "at a 0 1", "at a 4096 2", "at a 8192 3"];
        let (dir, _) = after_cut(&steps, Unsynced::Scattered(seed));
        let content = fs::read(dir.path().join("watched/a")).unwrap();
        seen.insert([content[0], content[4096], content[8192]]);
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn many_threads_keep_their_files_apart() {
    let (dir, _) = after(&["folder d", "threads d 8"]);
    let content: String = (0..50).map(|round| format!("{round}\n")).collect();
    let expected: Vec<String> = (0..8).map(|thread| format!("d/{thread}={content}")).collect();
    let found = listing(&dir.path().join("watched"), "");
    let files: Vec<String> = found.iter().filter(|line| line.len() > 20).cloned().collect();
    assert_eq!(files, expected);
}

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tokio::sync::Semaphore;

use super::{Out, target::Target};
use crate::limits::{MAX_LINE_BYTES, MAX_LINES_WAITING};

const PATIENCE: Duration = Duration::from_secs(60);

/// An output that the test reads.
fn piped() -> (PipeReader, Out) {
    let (reader, writer) = std::io::pipe().unwrap();
    // It stays open to the end of the tests, as a process's stderr does.
    let writer: &'static PipeWriter = Box::leak(Box::new(writer));
    (reader, Out::of("test", Target::descriptor(writer.as_fd())))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn made_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A reader of a named pipe, whether or not somebody writes.
fn reader_of(path: &Path) -> File {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    File::options().read(true).custom_flags(nonblocking).open(path).unwrap()
}

/// Reads until the text has this length.
fn read_bytes(from: &mut File, text: &mut Vec<u8>, bytes: usize) {
    let deadline = Instant::now() + PATIENCE;
    while text.len() < bytes {
        assert!(Instant::now() < deadline, "{} of {bytes} bytes came", text.len());
        let mut some = vec![0; 64 << 10];
        if let Ok(count @ 1..) = from.read(&mut some) {
            text.extend_from_slice(&some[..count]);
        } else {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn who_is_not_read_is_held_up_by_nobody_and_what_is_dropped_is_counted() {
    let (mut reader, out) = piped();
    let (begun, count) = (Instant::now(), 4 * MAX_LINES_WAITING);
    for number in 0..count {
        out.line(format!("{number} {}", "x".repeat(100)));
    }
    out.flush(Duration::from_millis(50));
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    let dropped = out.dropped();
    assert!(dropped > 0, "the queue has no end");
    // A reader that starts late gets whole lines, in order.
    let reading = thread::spawn(move || {
        let mut text = String::new();
        let mut some = [0; 4096];
        while text.matches('\n').count() < count - usize::try_from(dropped).unwrap() {
            let read = reader.read(&mut some).unwrap();
            text.push_str(std::str::from_utf8(&some[..read]).unwrap());
        }
        text
    });
    let text = reading.join().unwrap();
    let numbers: Vec<usize> =
        text.lines().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "not in their order, or twice");
    assert_eq!(out.dropped(), dropped);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let (reader, out) = piped();
    drop(reader);
    (0..50).for_each(|number| out.line(format!("{number}")));
    until("all are dropped", || out.dropped() == 50);
    let full: &'static File = Box::leak(Box::new(File::options().write(true).open("/dev/full").unwrap()));
    let full = Out::of("test", Target::descriptor(full.as_fd()));
    (0..50).for_each(|number| full.line(format!("{number}")));
    full.flush(PATIENCE);
    assert_eq!(full.dropped(), 50);
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let out = Out::file(&path).unwrap();
    out.line(vec![b'x'; 2 * MAX_LINE_BYTES]);
    out.line("next");
    out.flush(PATIENCE);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].len() < MAX_LINE_BYTES && lines[0].ends_with("x [cut]") && lines[1] == "next");
}

#[test]
fn no_record_is_lost_or_doubled_or_torn_among_lines_that_nobody_reads() {
    let (mut reader, out) = piped();
    let (records, slots) = (500, Arc::new(Semaphore::new(500)));
    let (writing, slots_of_writer) = (out.clone(), Arc::clone(&slots));
    let writer = thread::spawn(move || {
        for number in 0..records {
            let slot = Arc::clone(&slots_of_writer).try_acquire_owned().unwrap();
            writing.record(format!("record {number} {}\n", "r".repeat(number * 20)).into_bytes(), Some(slot));
            (0..20).for_each(|line| writing.line(format!("line {number} {line} {}", "l".repeat(50))));
        }
    });
    writer.join().unwrap();
    assert!(out.dropped() > 0 && slots.available_permits() < records, "nothing was held up");
    let reading = thread::spawn(move || {
        let (mut text, mut some) = (String::new(), [0; 4096]);
        while text.lines().filter(|line| line.starts_with("record")).count() < records
            || !text.ends_with('\n')
        {
            let read = reader.read(&mut some).unwrap();
            text.push_str(std::str::from_utf8(&some[..read]).unwrap());
        }
        (text, reader)
    });
    let (text, _reader) = reading.join().unwrap();
    let mut seen = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["record", number, rest] => {
                let number: usize = number.parse().unwrap();
                assert!(rest.len() == number * 20 && rest.bytes().all(|byte| byte == b'r'), "{line}");
                *seen.entry(number).or_insert(0) += 1;
            }
            ["line", _, _, rest] => assert_eq!(rest, "l".repeat(50)),
            _ => panic!("a torn line: {line}"),
        }
    }
    assert!(seen.len() == records && seen.values().all(|times| *times == 1), "{seen:?}");
    until("every slot is free again", || slots.available_permits() == records);
    assert_eq!((out.written(), out.waiting()), (records as u64, 0));
}

#[test]
fn two_who_write_to_one_pipe_do_not_tear_each_others_lines() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer: &'static PipeWriter = Box::leak(Box::new(writer));
    let outs = ["a", "b"].map(|name| (name, Out::of(name, Target::descriptor(writer.as_fd()))));
    let (rounds, mut writing) = (2_000, Vec::new());
    for (name, out) in &outs {
        let (name, out) = (*name, out.clone());
        writing.push(thread::spawn(move || {
            (0..rounds).for_each(|round| {
                out.record(format!("{} {round}\n", name.repeat(10 + round % 3_000)).into_bytes(), None);
            });
        }));
    }
    let reading = thread::spawn(move || {
        let (mut text, mut some) = (Vec::new(), [0; 64 << 10]);
        while text.iter().filter(|byte| **byte == b'\n').count() < 2 * rounds {
            let read = reader.read(&mut some).unwrap();
            text.extend_from_slice(&some[..read]);
        }
        String::from_utf8(text).unwrap()
    });
    writing.into_iter().for_each(|thread| thread.join().unwrap());
    for line in reading.join().unwrap().lines() {
        let (letters, _) = line.split_once(' ').unwrap();
        assert!(!letters.contains('a') || !letters.contains('b'), "{line}");
    }
}

#[test]
fn a_record_waits_for_its_next_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    made_fifo(&path);
    let mut reader = reader_of(&path);
    let out = Out::file(&path).unwrap();
    out.record(b"first\n".to_vec(), None);
    let mut text = Vec::new();
    read_bytes(&mut reader, &mut text, 6);
    drop(reader);
    out.record(b"second\n".to_vec(), None);
    out.record(b"third\n".to_vec(), None);
    until("the failure is seen", || out.failures() > 0);
    assert_eq!(out.waiting(), 2);
    let mut reader = reader_of(&path);
    read_bytes(&mut reader, &mut text, 19);
    assert_eq!(text, b"first\nsecond\nthird\n");
    until("all are written", || out.written() == 3);
}

#[test]
fn a_record_that_was_begun_in_a_file_that_was_removed_is_whole_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    made_fifo(&path);
    let mut reader = reader_of(&path);
    let out = Out::file(&path).unwrap();
    out.record(b"small\n".to_vec(), None);
    // More than a pipe holds.
    let large = [vec![b'x'; 300 << 10], b"\n".to_vec()].concat();
    out.record(large.clone(), None);
    let mut text = Vec::new();
    read_bytes(&mut reader, &mut text, 1_000);
    fs::rename(&path, folder.path().join("old")).unwrap();
    drop(reader);
    until("all are written", || out.written() == 2);
    assert!(text.starts_with(b"small\nx"));
    assert!(fs::read(&path).unwrap() == large, "the next file has something else");
}

#[test]
fn a_file_that_ends_in_the_midst_of_a_line_is_gone_on_with_on_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    File::create(&path).unwrap().write_all(b"{\"whole\":1}\n{\"torn").unwrap();
    let out = Out::file(&path).unwrap();
    out.record(b"{\"next\":1}\n".to_vec(), None);
    assert_eq!(out.close(Instant::now() + PATIENCE), 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"whole\":1}\n{\"torn\n{\"next\":1}\n");
}

/// Hands over one record, and waits until it is written.
fn write(out: &Out, record: &str) {
    let written = out.written();
    out.record(format!("{record}\n").into_bytes(), None);
    until("it is written", || out.written() > written);
}

#[test]
fn a_file_that_is_removed_is_begun_anew_at_once_and_one_that_is_renamed_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("access.jsonl"), folder.path().join("old"));
    let out = Out::file(&path).unwrap();
    for round in 0..5 {
        write(&out, &format!("first {round}"));
        fs::remove_file(&path).unwrap();
        write(&out, &format!("second {round}"));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("second {round}\n"));
    }
    // Nothing of this is a failure, and a record of it is in one of the two.
    fs::rename(&path, &old).unwrap();
    write(&out, "third");
    let both = fs::read_to_string(&old).unwrap() + &fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(both, "second 4\nthird\n");
    assert_eq!(out.failures(), 0);
}

#[test]
fn what_cannot_be_made_anew_waits_and_is_never_written_to_a_file_without_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    let path = logs.join("access.jsonl");
    fs::create_dir(&logs).unwrap();
    let out = Out::file(&path).unwrap();
    write(&out, "first");
    fs::remove_dir_all(&logs).unwrap();
    out.record(b"second\n".to_vec(), None);
    until("the missing folder is seen", || out.failures() > 0);
    fs::create_dir(&logs).unwrap();
    until("it is written", || out.written() == 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
    // A folder in place of the file.
    let failures = out.failures();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    out.record(b"third\n".to_vec(), None);
    until("the folder is seen", || out.failures() > failures);
    assert_eq!((out.written(), out.waiting()), (2, 1));
    fs::remove_dir(&path).unwrap();
    until("it is written", || out.written() == 3);
    assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
}

#[test]
fn a_file_without_a_name_is_none_to_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone");
    let held = File::create(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
    let error = Out::file(Path::new(&link)).unwrap_err();
    assert!(error.to_string().contains("was removed"), "{error}");
}

#[test]
fn a_pipe_that_nobody_reads_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    made_fifo(&path);
    let out = Out::file(&path).unwrap();
    out.record(b"first\n".to_vec(), None);
    until("the missing reader is seen", || out.failures() > 0);
    assert_eq!((out.waiting(), out.written()), (1, 0));
    let mut reader = reader_of(&path);
    let mut text = Vec::new();
    read_bytes(&mut reader, &mut text, 6);
    assert_eq!(text, b"first\n");
    until("it is written", || out.written() == 1);
}

#[test]
fn two_names_of_one_pipe_are_one_file() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let again = writer.try_clone().unwrap();
    let [one, again] = [writer, again].map(|end| {
        let end: &'static PipeWriter = Box::leak(Box::new(end));
        Out::of("test", Target::descriptor(end.as_fd()))
    });
    let (_other_reader, other) = piped();
    assert!(one.is_same_file(&again) && !one.is_same_file(&other));
}

#[test]
fn an_end_waits_until_its_deadline_and_says_what_is_lost() {
    let (reader, out) = piped();
    for number in 0..2_000 {
        out.record(format!("{number} {}\n", "x".repeat(100)).into_bytes(), None);
    }
    let (begun, wait) = (Instant::now(), Duration::from_millis(200));
    let lost = out.close(begun + wait);
    let took = begun.elapsed();
    assert!(took >= wait && took < PATIENCE / 2 && lost > 0, "{lost} lost after {took:?}");
    assert_eq!(lost, out.waiting());
    drop(reader);
    let folder = tempfile::tempdir().unwrap();
    let file = Out::file(&folder.path().join("access.jsonl")).unwrap();
    (0..2_000).for_each(|number| file.record(format!("{number}\n").into_bytes(), None));
    assert_eq!(file.close(Instant::now() + PATIENCE), 0);
    assert_eq!(file.written(), 2_000);
}

#[test]
fn the_thread_ends_with_its_last_owner() {
    let (_reader, out) = piped();
    let shared = Arc::downgrade(&out.0.0);
    // More than the pipe holds: the thread waits for space.
    (0..100).for_each(|_| out.record(vec![b'x'; 4_096], None));
    drop(out);
    until("the thread has ended", || shared.strong_count() == 0);
}

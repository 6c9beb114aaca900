//! A panic is logged like any other line: the panicking thread does not wait for a reader of stderr, and a closed
//! stderr changes nothing.

// A test that cannot go on may panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    env,
    io::Read as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use posthouse_server::config::LogConfig;

const CHILD: &str = "POSTHOUSE_TEST_PANICS";
/// More lines than a pipe holds.
const PANICS: usize = 1_000;
const ENDED: i32 = 7;

/// Not a test: the program under test. Its threads panic before and after a log is started.
#[test]
#[ignore = "run by the other tests"]
fn threads_that_panic() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    posthouse::log::log_panics();
    panic_often("before");
    posthouse::log::start(&LogConfig::default());
    panic_often("after");
    posthouse::stderr::flush();
    std::process::exit(ENDED);
}

fn panic_often(when: &str) {
    for number in 0..PANICS {
        let what = format!("{when} {number}\n\u{9b}{}", "x".repeat(100));
        let panicking = thread::Builder::new().name("worker".to_owned()).spawn(move || panic!("{what}"));
        assert!(panicking.unwrap().join().is_err());
    }
}

fn run(stderr: Stdio) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "threads_that_panic", "--ignored", "--nocapture"]).env(CHILD, "1");
    command.env_remove("RUST_BACKTRACE").stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

fn code(mut child: Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_panic_does_not_wait_for_a_reader() {
    let (reader, writer) = std::io::pipe().unwrap();
    assert_eq!(code(run(writer.into())), Some(ENDED));
    drop(reader);
}

#[test]
fn a_closed_stderr_does_not_stop_a_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(code(run(writer.into())), Some(ENDED));
}

#[test]
fn a_reader_gets_one_line_for_each_panic() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let child = run(writer.into());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(code(child), Some(ENDED));
    let of = |when: &str| {
        let wanted = format!("{when} 0\\n\\u{{9b}}xxx");
        text.lines()
            .find(|line| line.contains(&wanted))
            .unwrap_or_else(|| panic!("{wanted} is not in {text}"))
    };
    let before = of("before");
    assert!(before.contains("thread worker panicked at") && before.contains("panics.rs:"), "{before}");
    let after = of("after");
    assert!(
        after.contains("ERROR") && after.contains("panicked:") && after.contains("panics.rs:"),
        "{after}"
    );
}

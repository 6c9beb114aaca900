//! A command's stderr has no effect on its work.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use posthouse_tests::harness::{
    PATIENCE, cli, pipes,
    server::Server,
    site::{CIVIL, Site},
};

use super::Stderr;

const QUEUE: &str = "identity-cards/applications";

/// The exit code, or `None` if it does not end.
#[track_caller]
fn code(mut child: std::process::Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_exit_code_is_the_same_whatever_becomes_of_its_words() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", QUEUE]);
    let bad_lines = site.path("bad.ndjson");
    std::fs::write(&bad_lines, "no json\n").unwrap();
    let bad_lines = bad_lines.to_str().unwrap();
    let cases: [(i32, &[&str]); 6] = [
        (0, &["ping"]),
        (0, &["publish", QUEUE, "--file", "/dev/null"]),
        (64, &["no-such-command"]),
        (65, &["publish", QUEUE, "--ndjson", "--file", bad_lines]),
        (66, &["queue", "describe", "identity-cards/missing"]),
        (66, &["store", "check", "/no/such/folder"]),
    ];
    for stderr in Stderr::ALL {
        for (expected, arguments) in cases {
            let (stream, _reader) = stderr.stream();
            let mut command = stderr.command(&cli::command(&context, arguments));
            let child = command.stdout(Stdio::null()).stderr(stream).spawn().unwrap();
            assert_eq!(code(child), Some(expected), "{stderr:?}: {arguments:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_on_a_terminal_that_takes_nothing_holds_nothing_up() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", QUEUE]);
    let mut terminal = pipes::Terminal::open();
    // Filled up, so that a progress line would block.
    let mut stream = terminal.program();
    pipes::nonblocking(&stream, true);
    while stream.write(&[b'-'; 512]).is_ok() {}
    pipes::nonblocking(&stream, false);
    let mut publishing: Command = cli::command(&context, ["publish", QUEUE, "--file", "-"]);
    publishing.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(terminal.program());
    let mut child = publishing.spawn().unwrap();
    let mut lines = child.stdin.take().unwrap();
    let began = Instant::now();
    // Long enough for a progress line to be drawn a few times.
    let mut written = 0;
    while began.elapsed() < Duration::from_secs(2) {
        lines.write_all(b"a line\n").unwrap();
        written += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(lines);
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(code(child), Some(0));
    let mut printed = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut printed).unwrap();
    assert_eq!(printed, format!("{{\"stored\": {written}}}\n"));

    // A terminal that is read shows it.
    let mut terminal_read = pipes::Terminal::open();
    let mut publishing = cli::command(&context, ["publish", QUEUE, "--file", "-"]);
    publishing.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(terminal_read.program());
    let mut child = publishing.spawn().unwrap();
    let mut lines = child.stdin.take().unwrap();
    lines.write_all(b"a line\n").unwrap();
    terminal_read.read_until(b"1 stored");
    drop(lines);
    assert_eq!(code(child), Some(0));
    drop(terminal.read_until(b"-"));
}

//! The binary as scripts use it: output, closing lines and exit codes, against a server of its own.

// A test that cannot go on may panic, in its helpers too.
#![allow(clippy::unwrap_used)]

mod server;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use server::{Dev, interrupt, text, until};

const QUEUE: &str = "returns/incoming";

#[test]
fn raw_lines_go_in_and_come_out_in_order() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let lines = b"one\n\n\xff\x00\r\nlast without a line feed";
    let published = dev.run(["publish", QUEUE], lines);
    assert_eq!(text(&published.stdout), "{\"stored\": 4}\n");
    assert!(published.status.success());
    let full_name = "tenants/taxation/departments/returns/queues/incoming";
    let consumed = dev.run(["consume", full_name, "--until-empty"], b"");
    assert_eq!(consumed.stdout, [&lines[..], b"\n"].concat());
    assert!(consumed.status.success());
}

#[test]
fn the_closing_line_counts_the_lines_before_one_that_is_too_long() {
    let dev = Dev::with_queue(QUEUE, &["--max-message-bytes", "8"]);
    let published = dev.run(["publish", QUEUE], b"one\ntwo\nmuch too long\nfour\n");
    assert_eq!(text(&published.stdout), "{\"stored\": 2}\n");
    assert_eq!(published.status.code(), Some(65));
    assert!(text(&published.stderr).contains("line 3"), "{published:?}");
    assert_eq!(dev.ready(QUEUE), 2);
}

#[test]
fn an_interrupted_publish_says_what_is_stored() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let mut child = dev.command(["publish", QUEUE]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\nunfinished").unwrap();
    until("both lines are stored", || dev.ready(QUEUE) == 2);
    interrupt(&child);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(text(&ended.stdout), "{\"stored\": 2}\n");
    assert_eq!(ended.status.code(), Some(75));
}

#[test]
fn nothing_is_acknowledged_that_was_not_written_to_stdout() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let lines = "application\n".repeat(3000);
    assert!(dev.run(["publish", QUEUE], lines.as_bytes()).status.success());
    let mut child = dev.command(["consume", QUEUE]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(74));
    assert_eq!(dev.ready(QUEUE), 3000);
}

#[test]
fn an_interrupted_consumer_releases_what_it_has_not_written() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let line = "x".repeat(1023) + "\n";
    assert!(dev.run(["publish", QUEUE], line.repeat(1000).as_bytes()).status.success());
    // Nobody reads the pipe, whose capacity is smaller than the messages: the consumer blocks in a write.
    let mut child = dev.command(["consume", QUEUE]).spawn().unwrap();
    let mut written = vec![0];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut written).unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    child.stdout.as_mut().unwrap().read_to_end(&mut written).unwrap();
    // A small first batch fits into the pipe and is acknowledged; a batch that was written in part is not.
    let whole_lines = written.iter().filter(|byte| **byte == b'\n').count() as u64;
    let acknowledged = 1000 - dev.ready(QUEUE);
    assert!(acknowledged <= whole_lines, "{acknowledged} acknowledged, {whole_lines} written");
    assert!(whole_lines < 1000);
    let again = dev.run(["consume", QUEUE, "--count", "1", "--output", "json"], b"");
    let message: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(message["attempt"], 1, "giving back is no failure");
}

#[test]
fn a_consumer_without_an_end_waits_for_more() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let mut child = dev.command(["consume", QUEUE]).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for expected in ["first\n", "second\n"] {
        assert!(dev.run(["publish", QUEUE], expected.as_bytes()).status.success());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(dev.ready(QUEUE), 0);
}

#[test]
fn a_count_consumes_no_more_and_json_says_everything() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let publish = ["publish", QUEUE, "--attribute", "kind=renewal", "--attribute", "by=a=b"];
    assert!(dev.run(publish, b"\xff\ntext\nthird\n").status.success());
    let consumed = dev.run(["consume", QUEUE, "--count", "2", "--output", "json"], b"");
    assert!(consumed.status.success());
    let messages: Vec<serde_json::Value> =
        text(&consumed.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["payload_base64"], "/w==");
    assert_eq!(messages[1]["payload"], "text");
    assert_eq!(messages[1]["attributes"], serde_json::json!({ "kind": "renewal", "by": "a=b" }));
    assert_eq!(messages[1]["sequence"], 2);
    assert_eq!(dev.ready(QUEUE), 1);
}

#[test]
fn queues_are_made_listed_and_removed() {
    let dev = Dev::with_queue(QUEUE, &[]);
    let name = "tenants/taxation/departments/returns/queues/incoming\n";
    assert_eq!(text(&dev.run(["queue", "list", "returns"], b"").stdout), name);
    assert_eq!(text(&dev.run(["queue", "list", QUEUE], b"").stdout), name);
    assert_eq!(text(&dev.run(["queue", "list", "returns/other"], b"").stdout), "");
    assert_eq!(dev.run(["queue", "create", QUEUE], b"").status.code(), Some(65));
    assert!(dev.run(["publish", QUEUE], b"a\nb\n").status.success());
    assert_eq!(text(&dev.run(["queue", "purge", QUEUE], b"").stdout), "{\"purged\": 2}\n");
    assert!(dev.run(["queue", "delete", QUEUE], b"").status.success());
    assert_eq!(dev.run(["queue", "describe", QUEUE], b"").status.code(), Some(66));
    let published = dev.run(["publish", QUEUE], b"a\n");
    assert_eq!((text(&published.stdout), published.status.code()), ("{\"stored\": 0}\n", Some(66)));
}

#[test]
fn a_context_speaks_for_its_own_tenant_only() {
    let dev = Dev::start();
    let mut create = dev.command(["queue", "create", "identity-cards/incoming"]);
    create.arg("--context").arg(dev.context("civil-affairs"));
    assert!(create.output().unwrap().status.success());
    let describe = |queue: &str| {
        let name = format!("tenants/civil-affairs/departments/identity-cards/queues/{queue}");
        let described = dev.run(["queue", "describe", &name], b"");
        (described.status.code(), text(&described.stderr).replace(queue, "QUEUE"))
    };
    let (code, message) = describe("incoming");
    assert_eq!(code, Some(77));
    assert_eq!(describe("missing"), (code, message), "a foreign queue must not show whether it exists");
}

#[test]
fn what_is_wrong_with_a_command_has_its_code() {
    let dev = Dev::start();
    let code = |args: &[&str]| dev.run(args, b"").status.code();
    assert_eq!(code(&["frobnicate"]), Some(64));
    assert_eq!(code(&["publish", "no-queue"]), Some(64));
    assert_eq!(code(&["consume", QUEUE, "--count", "1", "--until-empty"]), Some(64));
    assert_eq!(code(&["publish", QUEUE, "--file", "/no/such/file"]), Some(66));
    assert_eq!(code(&["consume", QUEUE]), Some(66));
    assert_eq!(code(&["serve", "--config", "/no/such/file"]), Some(78));
    assert_eq!(code(&["dev", "--dir", "unused", "--listen", "0.0.0.0:7443"]), Some(64));
    assert_eq!(code(&["--help"]), Some(0));
}

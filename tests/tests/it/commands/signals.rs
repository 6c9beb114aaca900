//! SIGHUP: when its terminal closes, a command ends as it does for SIGTERM, unless the signal is ignored (`nohup`).

use std::{
    io::Write as _,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use posthouse_tests::harness::{
    PATIENCE, binaries, cli, eventually, pipes, server::Server, shell, signal, site::Site,
};

use super::{Fixture, QUEUE};

/// Starts a client command, with `nohup` if wanted.
fn start(context: &Path, arguments: &[&str], ignoring: bool) -> Child {
    let trap = if ignoring { "trap '' HUP; " } else { "" };
    let mut shell = shell();
    shell.args(["-c", &format!("{trap}exec \"$0\" \"$@\"")]).arg(binaries::posthouse());
    shell.arg("--context").arg(context).args(arguments);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "the command does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many messages are leased; a consumer that ends cleanly leaves none.
fn in_flight(context: &Path) -> u64 {
    let shown = cli::succeed(context, ["queue", "stats", QUEUE, "--json"]);
    let stats: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    stats["in_flight"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_and_publish_end_in_good_order() {
    let fixture = Fixture::new().await;
    for name in ["HUP", "TERM"] {
        let mut publish = start(&fixture.context, &["publish", QUEUE], false);
        publish.stdin.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
        eventually("both messages", async || {
            let shown = cli::succeed(&fixture.context, ["queue", "stats", QUEUE, "--json"]);
            let stats: serde_json::Value = serde_json::from_slice(&shown).unwrap();
            (stats["ready"] == 2).then_some(())
        })
        .await;
        signal(publish.id(), name);
        assert_eq!(ended(&mut publish).await.code(), Some(75), "{name}");
        let output = publish.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"stored\": 2}\n", "{name}");

        let mut consume = start(&fixture.context, &["consume", QUEUE], false);
        let mut received = String::new();
        let mut lines = std::io::BufReader::new(consume.stdout.take().unwrap());
        for _ in 0..2 {
            std::io::BufRead::read_line(&mut lines, &mut received).unwrap();
        }
        assert_eq!(received, "one\ntwo\n", "{name}");
        signal(consume.id(), name);
        assert_eq!(ended(&mut consume).await.code(), Some(0), "{name}");
        assert_eq!(in_flight(&fixture.context), 0, "{name}: what was not acknowledged is released");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdout_that_nobody_reads_keeps_no_signal_from_ending_them() {
    let fixture = Fixture::new().await;
    let measured = "identity-cards/measured";
    cli::succeed(&fixture.context, ["queue", "create", measured]);
    let cases: [(&[&str], Option<i32>); 6] = [
        (&["queue", "stats", QUEUE, "--watch", "1"], Some(0)),
        (&["queue", "stats", QUEUE], Some(75)),
        (&["publish", QUEUE, "--file", "/dev/null"], Some(75)),
        (&["bench", "pipeline", measured, "--count", "100", "--size", "24"], Some(75)),
        (&["consume", QUEUE], Some(0)),
        // It handles no signals, so each signal ends it.
        (&["queue", "list", "identity-cards"], None),
    ];
    for (arguments, code) in cases {
        for name in ["TERM", "HUP"] {
            if arguments[0] == "consume" {
                let file = fixture.site.path("lines");
                std::fs::write(&file, "a line\n").unwrap();
                cli::succeed(&fixture.context, ["publish", QUEUE, "--file", file.to_str().unwrap()]);
            }
            let (_unread, writer, _) = pipes::full();
            let mut command = shell();
            command.args(["-c", "exec \"$0\" \"$@\""]).arg(binaries::posthouse());
            command.arg("--context").arg(&fixture.context).args(arguments);
            command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            drop(command);
            eventually("a write that waits", async || writes(child.id()).then_some(())).await;
            signal(child.id(), name);
            let status = ended(&mut child).await;
            let printed = child.wait_with_output().unwrap().stderr;
            assert_eq!(status.code(), code, "{name}: {arguments:?}: {}", String::from_utf8_lossy(&printed));
        }
    }
    assert_eq!(in_flight(&fixture.context), 0);
}

/// Whether a thread of the process waits in a write to stdout.
fn writes(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks.flatten().any(|task| {
        let call = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        let words: Vec<&str> = call.split(' ').collect();
        // write is 1 on x86-64 and 64 on others; its descriptor is a copy of stdout.
        let ["1" | "64", descriptor, ..] = words[..] else { return false };
        let descriptor = i32::from_str_radix(descriptor.trim_start_matches("0x"), 16).unwrap_or_default();
        let name = |number| std::fs::read_link(format!("/proc/{process}/fd/{number}")).ok();
        name(descriptor).is_some() && name(descriptor) == name(1)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_they_go_on() {
    let fixture = Fixture::new().await;
    let mut publish = start(&fixture.context, &["publish", QUEUE], true);
    let mut consume = start(&fixture.context, &["consume", QUEUE], true);
    let mut lines = std::io::BufReader::new(consume.stdout.take().unwrap());
    let mut input = publish.stdin.take().unwrap();
    for line in ["before\n", "after\n"] {
        input.write_all(line.as_bytes()).unwrap();
        let mut received = String::new();
        std::io::BufRead::read_line(&mut lines, &mut received).unwrap();
        assert_eq!(received, line);
        for child in [&publish, &consume] {
            signal(child.id(), "HUP");
        }
    }
    drop(input);
    assert_eq!(ended(&mut publish).await.code(), Some(0));
    signal(consume.id(), "TERM");
    assert_eq!(ended(&mut consume).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throwaway_server_drains_and_ends() {
    let site = Site::new();
    let context = site.path("dev/contexts/civil-affairs.toml");
    for (name, trap) in [("HUP", ""), ("TERM", "trap '' HUP; ")] {
        let mut command = shell();
        command.args(["-c", &format!("{trap}exec \"$0\" dev --dir \"$1\" --listen \"$2\"")]);
        command.arg(binaries::posthouse()).arg(site.path("dev")).arg(site.listen().to_string());
        let mut server = Server::run(&site, command);
        eventually("a ping", async || cli::run(&context, ["ping"]).status.success().then_some(())).await;
        if !trap.is_empty() {
            server.hang_up();
            assert!(cli::run(&context, ["ping"]).status.success());
        }
        signal(server.id(), name);
        assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
        assert!(server.log().contains("stopped"), "{}", server.log());
    }
}

//! SIGHUP: a command whose terminal is gone ends as it does for SIGTERM, unless it was told to ignore that (`nohup`).

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use posthouse_tests::harness::server::Server;
use posthouse_tests::harness::site::Site;
use posthouse_tests::harness::{PATIENCE, binaries, cli, eventually, shell, signal};

use super::{Place, QUEUE};

/// Runs a client command, if wanted as `nohup` does.
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

/// How many messages are leased; a consumer that ends well leaves none.
fn in_flight(context: &Path) -> u64 {
    let shown = cli::succeed(context, ["queue", "stats", QUEUE, "--json"]);
    let stats: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    stats["in_flight"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_and_publish_end_in_good_order() {
    let place = Place::new().await;
    for name in ["HUP", "TERM"] {
        let mut publish = start(&place.context, &["publish", QUEUE], false);
        publish.stdin.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
        eventually("both messages", async || {
            let shown = cli::succeed(&place.context, ["queue", "stats", QUEUE, "--json"]);
            let stats: serde_json::Value = serde_json::from_slice(&shown).unwrap();
            (stats["ready"] == 2).then_some(())
        })
        .await;
        signal(publish.id(), name);
        assert_eq!(ended(&mut publish).await.code(), Some(75), "{name}");
        let output = publish.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"stored\": 2}\n", "{name}");

        let mut consume = start(&place.context, &["consume", QUEUE], false);
        let mut came = String::new();
        let mut lines = std::io::BufReader::new(consume.stdout.take().unwrap());
        for _ in 0..2 {
            std::io::BufRead::read_line(&mut lines, &mut came).unwrap();
        }
        assert_eq!(came, "one\ntwo\n", "{name}");
        signal(consume.id(), name);
        assert_eq!(ended(&mut consume).await.code(), Some(0), "{name}");
        assert_eq!(in_flight(&place.context), 0, "{name}: what was not acknowledged is released");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_they_go_on() {
    let place = Place::new().await;
    let mut publish = start(&place.context, &["publish", QUEUE], true);
    let mut consume = start(&place.context, &["consume", QUEUE], true);
    let mut lines = std::io::BufReader::new(consume.stdout.take().unwrap());
    let mut input = publish.stdin.take().unwrap();
    for line in ["before\n", "after\n"] {
        input.write_all(line.as_bytes()).unwrap();
        let mut came = String::new();
        std::io::BufRead::read_line(&mut lines, &mut came).unwrap();
        assert_eq!(came, line);
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

//! `posthouse bench` measures what it reports, leaves nothing behind, and touches no other messages.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use posthouse_tests::harness::{
    cli, eventually,
    server::Server,
    site::{CIVIL, Site},
};
use serde_json::Value;

const QUEUE: &str = "household-registry/bench";

async fn scene() -> (Site, Server, PathBuf) {
    let site = Site::new();
    let server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", QUEUE]);
    (site, server, context)
}

fn bench(context: &Path, arguments: &str) -> Output {
    cli::run(context, ["bench"].into_iter().chain(arguments.split(' ')))
}

#[track_caller]
fn measured(context: &Path, arguments: &str) -> Value {
    let output = bench(context, &format!("{arguments} --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ready(context: &Path) -> u64 {
    let described = cli::succeed(context, ["queue", "describe", QUEUE]);
    let described: Value = serde_json::from_slice(&described).unwrap();
    described["stats"]["ready"].as_u64().unwrap()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Fails unless every figure is there, and the figures fit each other.
#[track_caller]
fn check(report: &Value, bench: &str, count: u64, steps: &[&str]) {
    let all = [
        "batch",
        "bench",
        "bytes_per_second",
        "complete",
        "count",
        "duration_seconds",
        "errors",
        "latency_microseconds",
        "messages",
        "messages_per_second",
        "queue",
        "rate",
        "size",
        "streams",
    ];
    assert_eq!(keys(report), all);
    assert_eq!(report["bench"], bench);
    assert_eq!(report["queue"], "tenants/civil-affairs/departments/household-registry/queues/bench");
    assert_eq!((&report["complete"], &report["errors"]), (&true.into(), &0.into()));
    assert_eq!((report["messages"].as_u64(), report["count"].as_u64()), (Some(count), Some(count)));
    let seconds = report["duration_seconds"].as_f64().unwrap();
    let per_second = report["messages_per_second"].as_f64().unwrap();
    assert!((per_second * seconds - count as f64).abs() < 0.01, "{report}");
    let bytes = report["size"].as_u64().unwrap() * count;
    assert!((report["bytes_per_second"].as_f64().unwrap() * seconds - bytes as f64).abs() < 1.0, "{report}");
    let latencies = &report["latency_microseconds"];
    assert_eq!(keys(latencies), steps);
    for step in steps {
        let latency = &latencies[step];
        assert_eq!(latency["messages"], count, "{step}");
        let ladder: Vec<u64> =
            ["p50", "p90", "p99", "p99_9", "max"].iter().map(|key| latency[key].as_u64().unwrap()).collect();
        assert!(ladder.is_sorted() && ladder[0] > 0, "{step}: {latency}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_measurement_counts_what_it_did_and_leaves_nothing_behind() {
    let (_site, _server, context) = scene().await;
    let report = measured(&context, &format!("publish {QUEUE} --count 3000 --batch 100 --size 100"));
    check(&report, "publish", 3000, &["stored"]);
    assert_eq!(ready(&context), 0);
    let report = measured(&context, &format!("consume {QUEUE} --count 3000 --streams 3 --size 24"));
    check(&report, "consume", 3000, &["settled"]);
    assert_eq!(ready(&context), 0);
    let report = measured(&context, &format!("pipeline {QUEUE} --count 3000 --window 100"));
    check(&report, "pipeline", 3000, &["delivered", "settled", "stored"]);
    let report = measured(&context, &format!("pipeline {QUEUE} --count 300 --rate 1000 --streams 1"));
    check(&report, "pipeline", 300, &["delivered", "settled", "stored"]);
    // The last was due 299 ms after the first.
    assert!(report["duration_seconds"].as_f64().unwrap() >= 0.299);
    assert_eq!((&report["rate"], ready(&context)), (&1000.into(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_kept_and_consumed_later() {
    let (_site, _server, context) = scene().await;
    measured(&context, &format!("publish {QUEUE} --count 1000 --warm-up 0 --keep"));
    assert_eq!(ready(&context), 1000);
    let refused = bench(&context, &format!("publish {QUEUE} --count 10"));
    assert_eq!(refused.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("holds 1000 messages"));
    let table = bench(&context, &format!("consume {QUEUE} --no-fill --count 400 --warm-up 0"));
    assert!(table.status.success());
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("400 of 400 messages of 1,024 bytes in"), "{table}");
    assert_eq!(ready(&context), 600);
    let report = measured(&context, &format!("consume {QUEUE} --no-fill --warm-up 100"));
    check(&report, "consume", 500, &["settled"]);
    assert_eq!(ready(&context), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_are_not_acknowledged() {
    let (site, _server, context) = scene().await;
    let lines = site.path("lines");
    std::fs::write(&lines, "an application\nanother\n").unwrap();
    cli::succeed(&context, ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), lines.as_os_str()]);
    let refused = bench(&context, &format!("consume {QUEUE} --no-fill"));
    assert_eq!(refused.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did not publish"), "{refused:?}");
    assert_eq!(ready(&context), 2);
    let report = measured(&context, &format!("consume {QUEUE} --no-fill --force"));
    assert_eq!((&report["messages"], ready(&context)), (&2.into(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_prints_what_it_measured_and_clears_up() {
    let (_site, _server, context) = scene().await;
    let arguments =
        ["bench", "publish", QUEUE, "--rate", "2000", "--count", "1000000", "--warm-up", "0", "--json"];
    let mut command = cli::command(&context, arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let some = || async { (ready(&context) >= 500).then_some(()) };
    eventually("messages of the run", some).await;
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], false);
    assert!((500..1_000_000).contains(&report["messages"].as_u64().unwrap()), "{report}");
    assert_eq!(report["latency_microseconds"]["stored"]["messages"], report["messages"]);
    assert_eq!(ready(&context), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_said() {
    let (_site, _server, context) = scene().await;
    for (arguments, code, said) in [
        (format!("publish {QUEUE} --size 23"), 64, "24..="),
        (format!("publish {QUEUE} --count 0"), 64, "1..="),
        (format!("publish {QUEUE} --streams 0"), 64, "1..=256"),
        (format!("publish {QUEUE} --batch 1025"), 64, "1..=1024"),
        (format!("publish {QUEUE} --rate 0"), 64, "1..="),
        (format!("consume {QUEUE} --rate 5"), 64, "--rate"),
        ("publish".to_owned(), 64, "QUEUE"),
        (format!("publish {QUEUE} --size 2000000"), 65, "takes payloads of 1048576 bytes"),
        (format!("consume {QUEUE} --no-fill"), 65, "holds 0 messages"),
        ("publish household-registry/missing".to_owned(), 66, "missing"),
        ("publish Not_A_Name".to_owned(), 64, "Not_A_Name"),
    ] {
        let output = bench(&context, &arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {errors}");
        assert!(errors.contains(said), "{arguments}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}

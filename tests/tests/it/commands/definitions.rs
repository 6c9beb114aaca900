//! `posthouse queue update` and `stats`.

use std::fs;

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};
use serde_json::Value;

const QUEUE: &str = "identity-cards/applications";

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_exactly_what_is_given() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", "identity-cards/failed"]);
    let created = ["queue", "create", QUEUE, "--max-attempts", "5", "--dead-letter-queue", "failed"];
    cli::succeed(&context, created);
    let update = |arguments: &[&str]| -> Value {
        let printed = cli::succeed(&context, ["queue", "update", QUEUE].iter().chain(arguments));
        serde_json::from_slice(&printed).unwrap()
    };
    let first = update(&["--lease-seconds", "90"]);
    assert_eq!((&first["lease_seconds"], &first["max_attempts"]), (&90.0.into(), &5.into()));
    assert!(first["dead_letter_queue"].as_str().unwrap().ends_with("/queues/failed"));
    let second = update(&["--max-message-bytes", "2048", "--no-dead-letter-queue"]);
    assert_eq!((&second["lease_seconds"], &second["max_message_bytes"]), (&90.0.into(), &2048.into()));
    assert!(second["dead_letter_queue"].is_null());

    let stale = ["queue", "update", QUEUE, "--max-attempts", "7", "--etag", first["etag"].as_str().unwrap()];
    let (_, printed) = cli::end(65, &context, stale);
    assert!(printed.contains("read the queue again"), "{printed}");
    let fresh = update(&["--max-attempts", "7", "--etag", second["etag"].as_str().unwrap()]);
    assert_eq!(fresh["max_attempts"], 7);

    let (_, printed) = cli::end(64, &context, ["queue", "update", QUEUE]);
    assert!(printed.contains("nothing to change was given"), "{printed}");
    cli::end(64, &context, ["queue", "update", QUEUE, "--dead-letter-queue", "x", "--no-dead-letter-queue"]);
    cli::end(65, &context, ["queue", "update", QUEUE, "--max-attempts", "1001"]);
    cli::end(66, &context, ["queue", "update", "identity-cards/nowhere", "--max-attempts", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_count_what_is_there() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", QUEUE]);
    fs::write(site.path("lines"), "one\ntwo\nthree\n").unwrap();
    let lines = site.path("lines");
    let publish = ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), lines.as_os_str()];
    cli::succeed(&context, publish);
    cli::succeed(&context, ["consume", QUEUE, "--count", "1"]);
    let printed = cli::succeed(&context, ["queue", "stats", QUEUE, "--json"]);
    let stats: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(stats["queue"], "tenants/civil-affairs/departments/identity-cards/queues/applications");
    let counts = ["ready", "in_flight", "waiting", "parked", "last_sequence"].map(|key| stats[key].as_u64());
    assert_eq!(counts, [2, 0, 0, 0, 3].map(Some));
    let sums = ["published", "delivered", "acked", "dead_lettered"].map(|key| stats[key].as_u64());
    assert_eq!(sums, [3, 1, 1, 0].map(Some), "{stats}");
    for key in [
        "average_waiting_seconds",
        "average_processing_seconds",
        "oldest_unsettled_seconds",
        "acked_per_second",
    ] {
        assert!(stats[key].as_f64().is_some(), "{key}: {stats}");
    }
    let table = String::from_utf8(cli::succeed(&context, ["queue", "stats", QUEUE])).unwrap();
    let row = |name: &str| {
        let row = table.lines().find_map(|line| line.trim_start().strip_prefix(name));
        row.unwrap_or_else(|| panic!("no {name} in\n{table}")).trim().to_owned()
    };
    assert_eq!(row("ready"), "2");
    assert_eq!(row("dead, parked here"), "0");
    for name in ["oldest unsettled", "stored", "average waiting time", "average processing time", "out"] {
        assert!(!row(name).is_empty());
    }
    cli::end(66, &context, ["queue", "stats", "identity-cards/nowhere"]);
}

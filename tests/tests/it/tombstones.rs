//! A queue through which many messages have passed is as quick as a new one: `make figures` shows it for millions.

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
    tombstones::{per_delivery, tombstones},
};

const QUEUE: &str = "household-registry/passed";
const PASSED: u32 = 100_000;
const DELIVERIES: u32 = 50;
/// The promise: at most this many more deleted rows per delivery than for the first.
const MORE: f64 = 8.0;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_do_not_read_over_what_has_passed() {
    let site = Site::new();
    let mut server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", QUEUE]);
    let first = per_delivery(&site, QUEUE, DELIVERIES).await;
    let count = PASSED.to_string();
    let pipeline =
        ["bench", "pipeline", QUEUE, "--warm-up", "0", "--size", "100", "--count", &count, "--json"];
    cli::succeed(&context, pipeline);
    let warm = per_delivery(&site, QUEUE, DELIVERIES).await;
    assert!(warm <= first + MORE, "{warm} deleted rows per delivery, {first} at first");
    server.kill();
    let _server = Server::start(&site).await;
    let cold = per_delivery(&site, QUEUE, DELIVERIES).await;
    assert!(cold <= first + MORE, "{cold} deleted rows per delivery after a kill, {first} at first");
    // A count of zero means something only where deleted rows would be counted.
    for number in 0..10 {
        let queue = format!("household-registry/gone-{number}");
        cli::succeed(&context, ["queue", "create", &queue]);
        cli::succeed(&context, ["queue", "delete", &queue]);
    }
    cli::succeed(&context, ["queue", "list", "household-registry"]);
    assert!(tombstones(&site).await > 0.0);
}

//! Deleted rows that consumed messages leave, and that later reads have to pass over.

use posthouse_tests::harness::{server::Server, site::Site, tombstones::per_delivery};

use super::{Bench, QUEUE, number};

/// The promise: after five million messages, at most eight more deleted rows per delivery than for the first.
const PASSED: u64 = 5_000_000;
const MORE: f64 = 8.0;
/// The number of deliveries that are compared, one after the other.
const DELIVERIES: u32 = 200;

/// Passes messages through a queue and compares the deliveries after them with the first; returns the number of broken
/// promises.
pub async fn measure() -> u32 {
    let passed = number("POSTHOUSE_PASSED", PASSED);
    let mut bench = Bench::start(Site::new()).await;
    let first = per_delivery(&bench.site, QUEUE, DELIVERIES).await;
    bench.show("deleted rows read over per delivery, at first", &format!("{first:.2}"));
    bench.run(&format!("pipeline QUEUE --warm-up 0 --count {passed}"));
    let promised = format!("at most {:.2}", first + MORE);
    let warm = per_delivery(&bench.site, QUEUE, DELIVERIES).await;
    let what = format!("the same after {passed} messages");
    bench.judge(&what, &format!("{warm:.2}"), warm <= first + MORE, &promised);
    bench.server.kill();
    bench.server = Server::start(&bench.site).await;
    let cold = per_delivery(&bench.site, QUEUE, DELIVERIES).await;
    bench.judge("the same after a kill", &format!("{cold:.2}"), cold <= first + MORE, &promised);
    bench.missed
}

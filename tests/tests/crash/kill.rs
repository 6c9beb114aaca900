//! `kill -9`, after which the page cache is still there; and SIGTERM, which must lose no more.

use posthouse_tests::harness::binaries;

use crate::rounds::{Ends, Plan, rounds, run};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acked_is_lost_or_comes_again_over_kills() {
    let ends = Ends::KillsAndHalfStops;
    let plan =
        Plan { binary: &|_| binaries::posthouse(), rounds: rounds(5), ends, power: false, torn: false };
    run(plan).await.unwrap().assert_promises();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acked_is_lost_or_comes_again_over_stops() {
    let ends = Ends::Stops;
    let plan =
        Plan { binary: &|_| binaries::posthouse(), rounds: rounds(5), ends, power: false, torn: false };
    run(plan).await.unwrap().assert_promises();
}

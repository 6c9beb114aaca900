//! `kill -9`: the process goes, the page cache stays. And SIGTERM, which must be no worse.

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

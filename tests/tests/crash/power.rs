//! Power cuts: what was not synced is lost.

use std::{process::Command, time::Duration};

use posthouse_tests::{
    checker::Property,
    harness::{binaries, server::Server, site::Site},
    powercut::{PowerCut, Unsynced},
};
use rand::RngExt;
use tempfile::TempDir;

use crate::rounds::{Ends, Plan, rounds, run};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acked_is_lost_or_comes_again_over_power_cuts() {
    let ends = Ends::KillsAndHalfStops;
    let plan = Plan { binary: &|_| binaries::posthouse(), rounds: rounds(5), ends, power: true, torn: true };
    run(plan).await.unwrap().assert_promises();
}

/// Nothing was promised yet, so nothing may prevent a second start.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_may_be_cut_short() {
    let mut random = rand::rng();
    for round in 0..rounds(8) {
        let site = Site::new();
        let cut = PowerCut::watch(&site.state());
        let launch = || Server::launch(&site, &binaries::posthouse(), Some(&cut));
        let mut server = launch();
        // A random time, so that the cut hits any step.
        let pause = Duration::from_millis(random.random_range(0..150));
        tokio::time::sleep(pause).await;
        server.kill();
        let unsynced = match round % 3 {
            0 => Unsynced::Dropped,
            1 => Unsynced::Torn(random.random()),
            _ => Unsynced::Scattered(random.random()),
        };
        let lost = cut.strike(unsynced).unwrap();
        println!("after {pause:?}, {unsynced:?}: took {} files and {} bytes", lost.files, lost.bytes);
        launch().ready(&site).await;
    }
}

/// A server that answers before it has synced loses what it promised, and the checker finds it: this shows that the
/// test above proves something.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_is_caught() {
    let dir = TempDir::new().unwrap();
    let planted = planted(&dir, "skip-sync");
    // A correct server makes the queues and runs at the end, so that only the messages in between are lost.
    let binary = |round| if round == 1 { planted.clone() } else { binaries::posthouse() };
    // On SIGTERM it would sync the store, and the missing log would be found even sooner.
    let plan = Plan { binary: &binary, rounds: 2, ends: Ends::Kills, power: true, torn: false };
    match run(plan).await {
        Ok(judged) => assert!(judged.verdict.breaks(Property::Loss), "{}", judged.verdict),
        Err(refusal) => assert!(refusal.contains("restore"), "{refusal}"),
    }
}

/// The server with planted bugs, with this bug enabled. It is a script, because the environment chooses the bug.
fn planted(dir: &TempDir, bug: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let script = dir.path().join("planted");
    let text = format!("#!/bin/sh\nPOSTHOUSE_PLANT={bug} exec '{}' \"$@\"\n", binaries::planted().display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Command::new(&script).arg("--version").status().unwrap().success());
    script
}

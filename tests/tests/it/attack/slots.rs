//! Many connections of strangers keep no caller out.

use std::process::Command;

use posthouse_client::Client;
use posthouse_tests::{
    attack::{Target, add_rsa_key, silence},
    harness::{
        PATIENCE, binaries, eventually,
        server::Server,
        site::{CIVIL, Site},
    },
};
use tokio::task::JoinSet;

/// The callers that connect beside them.
const CALLERS: usize = 20;

/// Opens the strangers' connections, and waits until some of them have been closed.
async fn crowd(site: &Site, hosts: usize, each: usize) -> JoinSet<()> {
    let target = Target::of(site, 0);
    let mut crowd = JoinSet::new();
    crowd.spawn(silence(target.clone(), hosts, each));
    let counts = || async {
        let counts = target.tally.counts();
        (counts.connections >= (hosts * each) as u64 && !counts.ends.is_empty()).then_some(())
    };
    eventually("the crowd", counts).await;
    crowd
}

/// Every caller connects and is served.
async fn callers_get_in(site: &Site) {
    let context = site.context(CIVIL);
    for caller in 0..CALLERS {
        let ping = async { Client::connect(context.clone()).await?.ping().await };
        let answer = tokio::time::timeout(PATIENCE, ping).await;
        assert!(matches!(answer, Ok(Ok(()))), "caller {caller}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silent_host_keeps_nobody_out_where_few_files_may_be_open() {
    let site = Site::new();
    add_rsa_key(&site);
    let mut command = Command::new("prlimit");
    command
        .args(["--nofile=1024:1024"])
        .arg(binaries::posthouse())
        .arg("serve")
        .arg("--config")
        .arg(site.config());
    let mut server = Server::run(&site, command);
    server.ready(&site).await;
    let _crowd = crowd(&site, 1, 511).await;
    callers_get_in(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_silent_hosts_keep_nobody_out() {
    let site = Site::new();
    // As many for each connection slot as 19,200 are for the usual 16,384.
    site.configure(&[("shards = 4", "shards = 4\nmax_connections = 1000")]);
    let _server = Server::start(&site).await;
    let _crowd = crowd(&site, 40, 30).await;
    callers_get_in(&site).await;
}

//! Every record is written once: over a full disk, and for a caller that hangs up. What a stop loses is counted.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    time::{Duration, Instant},
};

use posthouse_proto::v1::{self};
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, value},
    scene::Scene,
    server::Server,
    site::{CIVIL, Site},
    small_disk::{SmallDisk, fill},
    stream::{Stream, open},
    wire::Caller,
};
use serde_json::Value;

use super::{Fixture, Sink, create, parsed, sequences};

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_tears_loses_and_doubles_none() {
    let site = Site::with_sections("[access]\nfile = \"records/access.jsonl\"\n");
    let folder = site.path("records");
    fs::create_dir(&folder).unwrap();
    let Some(disk) = SmallDisk::mount(&folder, 4 << 10) else { return };
    let (records, filler) = (disk.inside(&folder.join("access.jsonl")), disk.inside(&folder.join("filler")));
    let mut server = Server::run(&site, disk.serve(&site));
    let credentials = site.credentials(CIVIL);
    server.ready_for(&site, &credentials).await;
    let caller = Caller::connect(&site, &credentials).await;
    let mut scene = Scene { site, server, caller, credentials };
    let queue = scene.plain_queue("q").await;
    let mut published = scene.publish(&queue, &["a"]).await.len() as u64;
    for round in 0..3 {
        fill(&filler);
        // Less than one record fits, so that one is begun and not completed.
        let filled = File::options().write(true).open(&filler).unwrap();
        filled.set_len(filled.metadata().unwrap().len().saturating_sub(5_000)).unwrap();
        drop(filled);
        let failures =
            async || value(&scrape(scene.site.management()).await, "posthouse_access_write_failures_total");
        let before = failures().await;
        while failures().await == before {
            let batch: Vec<_> = (0..20).map(|_| scene.publish(&queue, &["a"])).collect();
            published += futures_util::future::join_all(batch).await.len() as u64;
            assert!(published < 20_000, "round {round}: the disk is never full");
        }
        fs::remove_file(&filler).unwrap();
        eventually("all records", async || {
            let metrics = scrape(scene.site.management()).await;
            (value(&metrics, "posthouse_access_records_waiting") == 0.0).then_some(())
        })
        .await;
    }
    let text = fs::read_to_string(&records).unwrap();
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0));
    let all: Vec<Value> = text.lines().map(parsed).collect();
    let expected: BTreeMap<u64, u64> = (1..=published).map(|sequence| (sequence, 1)).collect();
    assert!(sequences(&all) == expected, "a publish is not recorded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_meanwhile_ends_in_time_and_says_what_is_lost() {
    for sink in [Sink::File, Sink::Stdout] {
        let site = Site::with_sections(&sink.sections("all"));
        site.configure(&[("drain_deadline_seconds = 25", "drain_deadline_seconds = 10")]);
        let mut fixture = Fixture::with(sink, site).await;
        let queue = fixture.scene.plain_queue("q").await;
        // More than fits a pipe.
        for _ in 0..300 {
            fixture.scene.publish(&queue, &["a"]).await;
        }
        let stream = Stream::open(&fixture.scene.caller, open(&queue, [1; 16], 1)).await;
        let begun = Instant::now();
        fixture.scene.server.terminate();
        assert_eq!(fixture.scene.server.ended().await.code(), Some(74), "{sink:?}");
        assert!(begun.elapsed() < Duration::from_secs(12), "{sink:?}: it took {:?}", begun.elapsed());
        let log = fs::read_to_string(fixture.scene.site.path("stderr.log")).unwrap();
        let lost = log.lines().find(|line| line.contains("the last access records are lost"));
        let lost = lost.unwrap_or_else(|| panic!("{sink:?}: {log}"));
        let count: u64 = lost.split("records=").nth(1).unwrap().trim().parse().unwrap();
        assert!(log.contains(&format!("last access records: {count} are lost")), "{sink:?}: {log}");
        assert!((1..=302).contains(&count) && (sink != Sink::File || count > 300), "{sink:?}: {lost}");
        drop(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_wait_leaves_a_true_record_all_the_same() {
    let scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    for round in 0..80 {
        let name = format!("q{round}");
        let asked = create(&scene, &name);
        // It hangs up sooner or later: some of these queues are created by then.
        let _ = tokio::time::timeout(Duration::from_micros(60 * round), asked).await;
    }
    create(&scene, "last").await.unwrap();
    let list = v1::ListQueuesRequest {
        parent: format!("tenants/{CIVIL}/departments/household-registry"),
        page_size: 1_000,
        ..v1::ListQueuesRequest::default()
    };
    eventually("a record of every queue", async || {
        let made = scene.caller.queues().list_queues(scene.caller.request(list.clone())).await.unwrap();
        let mut made: Vec<String> = made.into_inner().queues.into_iter().map(|queue| queue.name).collect();
        let text =
            fs::read_to_string(scene.site.path("access.jsonl")).ok().filter(|text| text.ends_with('\n'))?;
        let recorded = text.lines().map(parsed).filter(|record| record["action"] == "manage");
        let mut recorded: Vec<String> = recorded
            .inspect(|record| assert_eq!(record["outcome"], "OK", "{record}"))
            .map(|record| record["queue"].as_str().unwrap().to_owned())
            .collect();
        made.sort();
        recorded.sort();
        (made == recorded && made.len() > 1).then_some(())
    })
    .await;
}

//! A server whose log cannot be written, under load, for `POSTHOUSE_PIPES_SECONDS`.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

use posthouse_proto::v1::{self, SettleAction};
use posthouse_tests::harness::{
    probe::{scrape, value},
    scene::{LONG, Scene, message, settlement},
    site::Site,
};
use serde_json::Value;

use super::{Stderr, renew, start};

const VARIABLE: &str = "POSTHOUSE_PIPES_SECONDS";
const USUAL_SECONDS: u64 = 5;
const BATCH: usize = 40;

fn duration() -> Duration {
    let seconds = std::env::var(VARIABLE).ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(USUAL_SECONDS))
}

/// What was done, to compare with the records.
#[derive(Debug, Default)]
struct Done {
    published: BTreeSet<u64>,
    acked: u64,
    refused: u64,
    renewed: u64,
    purged: u64,
}

/// Sends messages through a queue, has calls refused, makes changes, and replaces certificates, again and again.
async fn work(scene: &Scene, queue: &str, end: Instant) -> Done {
    let mut done = Done::default();
    let stranger = scene.caller.with_token(Some("no token"));
    let mut renew_at = Instant::now();
    while Instant::now() < end {
        let messages = (0..BATCH).map(|_| message("x")).collect();
        let request =
            v1::PublishRequest { queue: queue.to_owned(), messages, ..v1::PublishRequest::default() };
        let answer = scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
        for result in answer.into_inner().results {
            match result.result {
                Some(v1::publish_result::Result::Stored(stored)) => {
                    assert!(done.published.insert(stored.sequence))
                }
                other => panic!("not stored: {other:?}"),
            }
        }
        let deliveries = scene.receive(queue, BATCH as u32, LONG).await;
        let settlements = deliveries.iter().map(|delivery| settlement(delivery, SettleAction::Ack)).collect();
        done.acked += scene.settle_all(queue, settlements).await.unwrap().into_inner().results.len() as u64;
        let refused = stranger.request(v1::GetQueueRequest { name: queue.to_owned() });
        stranger.queues().get_queue(refused).await.unwrap_err();
        done.refused += 1;
        if renew_at <= Instant::now() {
            renew(&scene.site).await;
            done.renewed += 1;
            let purge = v1::PurgeQueueRequest { name: queue.to_owned(), ..v1::PurgeQueueRequest::default() };
            scene.caller.queues().purge_queue(scene.caller.request(purge)).await.unwrap();
            done.purged += 1;
            renew_at = Instant::now() + Duration::from_secs(2);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    done
}

/// What the records say was done.
fn recorded(site: &Site) -> (BTreeSet<u64>, u64, u64, u64) {
    let (mut published, mut acked, mut refused, mut purged) = (BTreeSet::new(), 0, 0, 0);
    for line in BufReader::new(File::open(site.path("access.jsonl")).unwrap()).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match record["action"].as_str().unwrap() {
            "publish" => {
                for range in record["sequences"].as_array().unwrap() {
                    let range = range.as_str().unwrap();
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    for sequence in first.parse().unwrap()..=last.parse().unwrap() {
                        assert!(published.insert(sequence), "{sequence} is recorded twice");
                    }
                }
            }
            "settle" => acked += record["count"].as_u64().unwrap(),
            "refused" => refused += record["count"].as_u64().unwrap_or(1),
            "manage" if record["method"] == "posthouse.v1.Queues/PurgeQueue" => purged += 1,
            _ => {}
        }
    }
    (published, acked, refused, purged)
}

async fn serves_with(stderr: Stderr) {
    let site = Site::with_sections("[access]\nfile = \"access.jsonl\"\nrecords = \"all\"\n");
    let (mut scene, _reader) = start(site, stderr).await;
    let queue = scene.plain_queue("q").await;
    let done = work(&scene, &queue, Instant::now() + duration()).await;
    assert!(scene.server.runs(), "{stderr:?}");
    let metrics = scrape(scene.site.management()).await;
    let dropped = value(&metrics, "posthouse_log_lines_dropped_total");
    let reloaded = value(&metrics, "posthouse_reloads_total{result=\"ok\",what=\"certificate\"}");
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{stderr:?}");
    let (published, acked, refused, purged) = recorded(&scene.site);
    println!(
        "{stderr:?}: {} published, {} acked, {} refused, {} reloads, {dropped} lines dropped",
        done.published.len(),
        done.acked,
        done.refused,
        done.renewed
    );
    assert!(published == done.published, "{stderr:?}: a publish is not on record");
    assert_eq!((acked, refused, purged), (done.acked, done.refused, done.purged), "{stderr:?}");
    assert!(reloaded >= done.renewed as f64 && done.acked > 0, "{stderr:?}: {reloaded} reloads, {done:?}");
    assert!(dropped > 0.0, "{stderr:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_log_goes_nowhere_stops_nothing_and_loses_no_record() {
    tokio::join!(
        serves_with(Stderr::Closed),
        serves_with(Stderr::Full),
        serves_with(Stderr::Abandoned),
        serves_with(Stderr::Unread),
    );
}

//! While records are not accepted, changes and publishes are refused, settlements and deliveries wait; then all goes
//! on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use posthouse_proto::v1::{self, SettleAction, SettleFrame, consume_request as to, consume_response as from};
use posthouse_tests::harness::{
    PATIENCE, eventually,
    probe::{get, scrape, value},
    refusal::{Refusal, assert_refused},
    scene::{LONG, message, queue_name, settlement, text},
    stream::{Stream, open},
};
use serde_json::Value;
use tonic::Code;

use super::{Fixture, REASON, Sink, assert_not_recorded, create, refused_call, sequences, sum};

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_none_refuses_changes_holds_settlements_and_pauses_deliveries_until_it_does() {
    futures_util::future::join_all(Sink::ALL.map(none_is_accepted)).await;
}

async fn none_is_accepted(sink: Sink) {
    let mut fixture = Fixture::stuck(sink, "all").await;
    let scene = &fixture.scene;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["first"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    let held = stream.deliveries(1).await.remove(0);
    let stored = 1 + fixture.fill(&queue).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.published, stats.in_flight), (stored, 1), "{sink:?}");

    // No change is made; the refusal takes at most a little more than two seconds.
    let begun = Instant::now();
    let refusal = assert_refused(create(scene, "never").await, Code::Unavailable, REASON);
    assert_not_recorded(&refusal);
    assert!(begun.elapsed() < Duration::from_secs(6), "{sink:?}: {:?}", begun.elapsed());
    assert_refused(
        refused_call(&scene.caller, &queue_name("never")).await,
        Code::NotFound,
        "QUEUE_NOT_FOUND",
    );
    let purge = v1::PurgeQueueRequest { name: queue.clone(), ..v1::PurgeQueueRequest::default() };
    let purged = scene.caller.queues().purge_queue(scene.caller.request(purge)).await;
    assert_refused(purged, Code::Unavailable, REASON);
    let publish =
        v1::PublishRequest { queue: queue.clone(), messages: vec![message("never")], ..Default::default() };
    let publish = scene.caller.publisher().publish(scene.caller.request(publish)).await;
    assert_refused(publish, Code::Unavailable, REASON);
    assert_eq!(scene.stats(&queue).await.published, stored, "{sink:?}");

    // A settlement is made, but its answer waits. Nothing is delivered, and no lease stays.
    let settle = SettleFrame { settle_id: 7, settlements: vec![settlement(&held, SettleAction::Ack)] };
    stream.send(to::Frame::Settle(settle)).await;
    stream.send(to::Frame::Credit(v1::Credit { messages: 5, bytes: 0 })).await;
    eventually("the settlement", async || (scene.stats(&queue).await.acked == 1).then_some(())).await;
    let frames = stream.until_pong().await;
    assert!(frames.is_empty(), "{sink:?}: {frames:?}");
    eventually("no leases", async || (scene.stats(&queue).await.in_flight == 0).then_some(())).await;
    let receive =
        v1::ReceiveRequest { queue: queue.clone(), max_messages: 1, ..v1::ReceiveRequest::default() };
    let received = scene.caller.consumer().receive(scene.caller.request(receive)).await;
    assert_refused(received, Code::Unavailable, REASON);

    // Load balancers see that the server is not ready, and refusals are answered at once.
    let ready = get(scene.site.management(), "/readyz").await.unwrap();
    assert!(
        ready.status == 503 && ready.body.contains("access records are not taken"),
        "{sink:?}: {ready:?}"
    );
    assert_eq!(get(scene.site.management(), "/livez").await.unwrap().status, 200);
    let metrics = scrape(scene.site.management()).await;
    assert_eq!(value(&metrics, "posthouse_access_records_blocked"), 1.0);
    let stranger = scene.caller.with_token(Some("no token"));
    let begun = Instant::now();
    for number in 0..100 {
        if number % 20 == 0 {
            // Without a good call in between, the connection would be closed.
            assert_eq!(scene.stats(&queue).await.acked, 1);
        }
        let refused = refused_call(&stranger, &queue).await;
        assert_refused(refused, Code::Unauthenticated, "TOKEN_MALFORMED");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{sink:?}: {:?}", begun.elapsed());

    fixture.unstick();
    goes_on(fixture, stream, &queue, stored).await;
}

/// All goes on by itself, and every record is there once.
async fn goes_on(mut fixture: Fixture, mut stream: Stream, queue: &str, stored: u64) {
    let (scene, sink) = (&fixture.scene, fixture.sink);
    let (mut settled, mut delivered) = (false, Vec::new());
    while !settled || delivered.len() < 5 {
        match stream.next().await.unwrap().unwrap() {
            from::Frame::Settled(frame) => settled = frame.settle_id == 7 && frame.all_settled == 1,
            from::Frame::Deliveries(batch) => delivered.extend(batch.deliveries),
            _ => {}
        }
    }
    // A leased message that was not sent counts no attempt.
    assert!(delivered.iter().all(|delivery| delivery.attempt == 1), "{sink:?}: {delivered:?}");
    eventually("readiness", async || {
        (get(scene.site.management(), "/readyz").await?.status == 200).then_some(())
    })
    .await;
    assert_eq!(scene.publish(queue, &["last"]).await, [stored + 1]);
    create(scene, "other").await.unwrap();
    let received = scene.receive(queue, 3, LONG).await;
    assert_eq!(received.len(), 3);

    eventually("the sum of refusals", async || (sum(&fixture.of("refused")) >= 100).then_some(())).await;
    fixture.scene.server.terminate();
    assert_eq!(fixture.scene.server.ended().await.code(), Some(0), "{sink:?}");
    eventually("the last record", async || (fixture.of("deliver").len() >= 3).then_some(())).await;
    let expected: BTreeMap<u64, u64> = (1..=stored + 1).map(|sequence| (sequence, 1)).collect();
    assert!(sequences(&fixture.of("publish")) == expected, "{sink:?}: a publish is not recorded once");
    assert_eq!(fixture.of("settle").iter().filter(|record| record["settled"]["ack"].is_array()).count(), 1);
    // The first, five on the stream, three received.
    assert_eq!(sum(&fixture.of("deliver")), 9, "{sink:?}: {:#?}", fixture.of("deliver"));
    assert_eq!(sum(&fixture.of("refused")), 100, "{sink:?}");
    let changes: Vec<Value> = fixture.of("manage").iter().map(|record| record["queue"].clone()).collect();
    assert_eq!(changes, [queue_name("q"), queue_name("other")], "{sink:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_changes_are_recorded_messages_go_on() {
    let mut fixture = Fixture::stuck(Sink::Log, "changes").await;
    let scene = &fixture.scene;
    let queue = scene.plain_queue("q").await;
    let purge = async || {
        let request = v1::PurgeQueueRequest { name: queue.clone(), ..v1::PurgeQueueRequest::default() };
        scene.caller.queues().purge_queue(scene.caller.request(request)).await
    };
    let mut purged = 0;
    'fill: loop {
        for answer in futures_util::future::join_all((0..64).map(|_| purge())).await {
            match answer {
                Ok(_) => purged += 1,
                Err(status) => {
                    assert_not_recorded(&Refusal::from(&status));
                    break 'fill;
                }
            }
        }
        assert!(purged < 100_000, "there is no end to what waits");
    }
    let ready = async || get(scene.site.management(), "/readyz").await.unwrap().status;
    eventually("a server that is not ready", async || (ready().await == 503).then_some(())).await;
    scene.publish(&queue, &["a", "b"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    stream.deliveries(1).await;
    let delivery = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    fixture.unstick();
    eventually("a change", async || create(&fixture.scene, "other").await.ok()).await;
    eventually("a record of every purge that was made", async || {
        let made = fixture.of("manage").into_iter().filter(|record| record["outcome"] == "OK");
        let made = made.filter(|record| record["method"] == "posthouse.v1.Queues/PurgeQueue").count();
        // Those beside the first that was refused may have been made.
        (purged..purged + 64).contains(&made).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_deliveries_wait_hears_that_it_is_taken_over_and_takes_nothing_with_it() {
    let mut fixture = Fixture::stuck(Sink::Stdout, "all").await;
    let queue = fixture.scene.plain_queue("q").await;
    fixture.scene.publish(&queue, &["held"]).await;
    let mut stream = Stream::open(&fixture.scene.caller, open(&queue, [1; 16], 1)).await;
    let held = stream.deliveries(1).await.remove(0);
    drop(stream);
    fixture.fill(&queue).await;
    // The session's messages are not sent again while the record of it is not accepted.
    let mut streams = Vec::new();
    for _ in 0..3 {
        let stream = Stream::open(&fixture.scene.caller, open(&queue, [1; 16], 10)).await;
        assert_eq!(stream.opened.resumed_leases, 1);
        streams.push(stream);
    }
    let mut newest = streams.pop().unwrap();
    for mut older in streams {
        assert_refused(older.end().await, Code::Aborted, "SESSION_TAKEN_OVER");
    }
    fixture.unstick();
    let again = newest.deliveries(1).await.remove(0);
    assert!(again.resumed && again.token == held.token && again.attempt == 1, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_were_under_way_are_given_back_uncounted() {
    let mut fixture = Fixture::stuck(Sink::Stdout, "all").await;
    let queue = fixture.scene.plain_queue("q").await;
    // A consumer waits while the last record slots are used: some of its deliveries are not sent.
    let mut stream = Stream::open(&fixture.scene.caller, open(&queue, [1; 16], 100_000)).await;
    let stored = fixture.fill(&queue).await;
    let (mut delivered, deadline) = (0, Instant::now() + PATIENCE);
    loop {
        for frame in stream.until_pong().await {
            if let from::Frame::Deliveries(batch) = frame {
                delivered += batch.deliveries.len() as u64;
            }
        }
        let in_flight = fixture.scene.stats(&queue).await.in_flight;
        if in_flight == delivered {
            break;
        }
        assert!(Instant::now() < deadline, "{in_flight} are leased, {delivered} have left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.unstick();
    let mut again = Vec::new();
    while delivered + (again.len() as u64) < stored {
        again.extend(stream.deliveries(1).await);
    }
    assert!(again.iter().all(|delivery| delivery.attempt == 1 && text(delivery) == "x"));
    let released =
        value(&scrape(fixture.scene.site.management()).await, "posthouse_access_deliveries_released_total");
    println!("{stored} stored, {delivered} delivered before, {released} given back");
}

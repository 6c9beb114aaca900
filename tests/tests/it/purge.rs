//! Purges, and the consumers that hold purged messages.

use std::{io::Read as _, process::Stdio};

use posthouse_proto::v1::{
    self, SettleAction, SettleFrame, Settlement, consume_request, consume_response, extend_result,
    settle_result,
};
use posthouse_tests::harness::{
    cli, eventually, probe,
    refusal::{Refusal, assert_refused},
    scene::{LONG, SHORT, Scene, refused, settlement},
    site::CIVIL,
    stream::{Stream, open},
};
use tonic::Code;

async fn purge(scene: &Scene, queue: &str) -> u64 {
    let request = v1::PurgeQueueRequest { name: queue.to_owned(), ..v1::PurgeQueueRequest::default() };
    scene.caller.queues().purge_queue(scene.caller.request(request)).await.unwrap().into_inner().purged
}

/// Publishes payloads without attributes.
async fn publish(scene: &Scene, queue: &str, payloads: &[&str]) {
    let message = |payload: &&str| v1::NewMessage {
        payload: payload.as_bytes().to_vec().into(),
        ..v1::NewMessage::default()
    };
    let messages = payloads.iter().map(message).collect();
    let request = v1::PublishRequest { queue: queue.to_owned(), messages, ..v1::PublishRequest::default() };
    scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
}

#[track_caller]
fn assert_purged(result: &settle_result::Result) {
    let refusal = refused(result);
    assert_eq!(
        (refusal.code, refusal.reason.as_str()),
        (Code::FailedPrecondition, "MESSAGE_PURGED"),
        "{refusal:?}"
    );
}

async fn extend(scene: &Scene, queue: &str, deliveries: &[&v1::Delivery]) -> Vec<Option<Refusal>> {
    let request = v1::ExtendLeasesRequest {
        queue: queue.to_owned(),
        tokens: deliveries.iter().map(|delivery| delivery.token.clone()).collect(),
        ..v1::ExtendLeasesRequest::default()
    };
    let answer = scene.caller.consumer().extend_leases(scene.caller.request(request)).await.unwrap();
    let refusal = |result: v1::ExtendResult| match result.result.unwrap() {
        extend_result::Result::Error(status) => Some(Refusal::from(&status)),
        extend_result::Result::LeaseDeadline(_) => None,
    };
    answer.into_inner().results.into_iter().map(refusal).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_are_told_and_those_who_had_acked_that_they_had() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["acked", "held", "ran out", "settled by another"]).await;
    let one = scene.receive(&queue, 2, LONG).await;
    scene.settled(&queue, settlement(&one[0], SettleAction::Ack)).await;
    let late = scene.receive(&queue, 2, SHORT).await;
    let again = scene.receive(&queue, 2, LONG).await;
    assert_eq!(again.len(), 2, "both ran out");
    scene.settled(&queue, settlement(&again[1], SettleAction::Ack)).await;
    assert_eq!(purge(&scene, &queue).await, 2);
    for restarted in [false, true] {
        if restarted {
            scene.crash().await;
        }
        let acked = scene.settle(&queue, settlement(&one[0], SettleAction::Ack)).await;
        assert!(matches!(acked, settle_result::Result::AlreadySettled(_)), "{acked:?}");
        for held in [&one[1], &late[0], &again[0]] {
            assert_purged(&scene.settle(&queue, settlement(held, SettleAction::Ack)).await);
        }
        let other = scene.settle(&queue, settlement(&late[1], SettleAction::Ack)).await;
        assert_eq!(refused(&other).reason, "SETTLED_BY_ANOTHER");
        let extended = extend(&scene, &queue, &[&one[1], &one[0]]).await;
        let reasons: Vec<_> =
            extended.iter().map(|refusal| refusal.as_ref().unwrap().reason.as_str()).collect();
        assert_eq!(reasons, ["MESSAGE_PURGED", "LEASE_LOST"]);
    }
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.purged, stats.published), (0, 0, 2, 4));
    // Messages that are published later are not affected.
    scene.publish(&queue, &["after"]).await;
    let after = scene.receive_one(&queue, LONG).await;
    assert_eq!(after.attempt, 1);
    scene.settled(&queue, settlement(&after, SettleAction::Ack)).await;
    let figures = probe::scrape(scene.site.management()).await;
    let counted = "posthouse_settlements_refused_total{reason=\"message_purged\"}";
    assert!(probe::value(&figures, counted) >= 3.0, "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_and_resumes_nothing_that_was_purged() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    let session = [7; 16];
    let mut stream = Stream::open(&scene.caller, open(&queue, session, 2)).await;
    let held = stream.deliveries(2).await;
    let settle = |delivery: &v1::Delivery| {
        let settlements = vec![settlement(delivery, SettleAction::Ack)];
        consume_request::Frame::Settle(SettleFrame { settle_id: 1, settlements })
    };
    assert_eq!(purge(&scene, &queue).await, 3);
    stream.send(settle(&held[0])).await;
    let results = loop {
        match stream.next().await.unwrap().unwrap() {
            consume_response::Frame::Settled(settled) => break settled.results,
            _ => continue,
        }
    };
    assert_purged(results[0].result.as_ref().unwrap());
    // It has credit for one more, and receives the next message.
    stream.send(consume_request::Frame::Credit(v1::Credit { messages: 2, bytes: 0 })).await;
    scene.publish(&queue, &["d"]).await;
    let next = stream.deliveries(1).await;
    assert_eq!(next[0].message.as_ref().unwrap().sequence, 4);
    drop(stream);
    let mut again = Stream::open(&scene.caller, open(&queue, session, 5)).await;
    assert_eq!(again.opened.resumed_leases, 1);
    assert_eq!(again.deliveries(1).await[0].message.as_ref().unwrap().sequence, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_was_to_get_when_it_is_purged_takes_no_credit() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let texts: Vec<String> = (0..1_000).map(|number| format!("{number:0>2000}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for some in texts.chunks(500) {
        publish(&scene, &queue, some).await;
    }
    // It has credit for all messages and reads none: most are leased and not sent yet.
    let mut stream = Stream::open(&scene.caller, open(&queue, [9; 16], 1_000)).await;
    eventually("all are leased", async || (scene.stats(&queue).await.in_flight == 1_000).then_some(())).await;
    purge(&scene, &queue).await;
    let mut received = 0;
    for frame in stream.until_pong().await {
        if let consume_response::Frame::Deliveries(batch) = frame {
            received += batch.deliveries.len();
        }
    }
    // Messages that were on their way count; the others return their credit, so that the next ones are sent.
    stream.send(consume_request::Frame::Credit(v1::Credit { messages: received as u32, bytes: 0 })).await;
    scene.publish(&queue, &["after"; 1_000]).await;
    let after = stream.deliveries(1_000).await;
    assert!(after.iter().all(|delivery| delivery.message.as_ref().unwrap().sequence > 1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_does_not_say_that_purged_messages_come_again() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let context = scene.site.context_file(CIVIL);
    let large = "x".repeat(200_000);
    publish(&scene, &queue, &[&large, "one", "two"]).await;
    // The first does not fit the pipe, so that nothing of the batch is acknowledged before the purge.
    let mut command = cli::command(&context, ["consume", "household-registry/q", "--count", "3"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 10];
    let reading = tokio::task::spawn_blocking(move || {
        stdout.read_exact(&mut first).unwrap();
        stdout
    });
    let mut stdout = reading.await.unwrap();
    assert_eq!(purge(&scene, &queue).await, 3);
    let ending = tokio::task::spawn_blocking(move || {
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        (rest.len(), child.wait_with_output().unwrap())
    });
    let (rest, output) = ending.await.unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert_eq!(10 + rest, large.len() + 1 + 4 + 4);
    assert!(printed.contains("3 written messages were purged") && !printed.contains("again: "), "{printed}");
    assert!(!printed.contains("may be delivered again"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_settles_in_a_queue_that_is_deleted_hears_of_that() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for round in 0..20 {
        if round > 0 {
            scene.plain_queue("q").await;
        }
        scene.publish(&queue, &["a"]).await;
        let mut stream = Stream::open(&scene.caller, open(&queue, [3; 16], 1)).await;
        let held = stream.deliveries(1).await;
        let delete = v1::DeleteQueueRequest { name: queue.clone(), ..v1::DeleteQueueRequest::default() };
        let mut queues = scene.caller.queues();
        let deleting = queues.delete_queue(scene.caller.request(delete));
        let settlements: Vec<Settlement> = vec![settlement(&held[0], SettleAction::Ack)];
        let settling = stream.send(consume_request::Frame::Settle(SettleFrame { settle_id: 1, settlements }));
        let (deleted, ()) = tokio::join!(deleting, settling);
        deleted.unwrap();
        assert_refused(stream.end().await, Code::NotFound, "QUEUE_DELETED");
    }
}

//! The statistics of a queue add up, and survive a crash.

use posthouse_proto::v1::{
    self, PublishStreamRequest, QueueStats, SettleAction, publish_result, publish_stream_request,
    publish_stream_response,
};
use posthouse_tests::harness::scene::{LONG, SHORT, Scene, message, settlement};
use tokio_stream::StreamExt;

fn ms(duration: Option<prost_types::Duration>) -> i64 {
    let duration = duration.unwrap();
    duration.seconds * 1000 + i64::from(duration.nanos) / 1_000_000
}

fn at(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.unwrap();
    time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_tell_what_became_of_messages() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let empty = scene.stats(&queue).await;
    assert_eq!((empty.published, empty.stored_bytes, empty.first_publish_time), (0, 0, None));
    assert_eq!((empty.oldest_unsettled_time, empty.last_ack_time), (None, None));

    scene.publish(&queue, &["a", "b"]).await;
    scene.publish(&queue, &["c", "d", "e"]).await;
    let first = scene.stats(&queue).await;
    assert_eq!((first.published, first.ready, first.last_sequence), (5, 5, 5));
    assert!(at(first.first_publish_time) <= at(first.last_publish_time));
    assert_eq!(first.oldest_unsettled_time, first.first_publish_time);
    // Five payloads of a byte, each with an attribute.
    assert!(first.stored_bytes > 5 * 10, "{}", first.stored_bytes);

    // Until the server's clock shows that it has waited for some time, and been worked on for some.
    while at(scene.stats(&queue).await.as_of) < at(first.last_publish_time) + 60 {
        tokio::task::yield_now().await;
    }
    let held = scene.receive(&queue, 4, LONG).await;
    let granted = at(scene.stats(&queue).await.as_of);
    while at(scene.stats(&queue).await.as_of) < granted + 50 {
        tokio::task::yield_now().await;
    }
    let actions = [SettleAction::Ack, SettleAction::Nack, SettleAction::Release, SettleAction::DeadLetter];
    for (delivery, action) in held.iter().zip(actions) {
        scene.settled(&queue, settlement(delivery, action)).await;
    }
    for restarted in [false, true] {
        if restarted {
            scene.crash().await;
        }
        let stats = scene.stats(&queue).await;
        let QueueStats { delivered, first_delivered, acked, nacked, released, dead_lettered, .. } = stats;
        assert_eq!((delivered, first_delivered), (4, 4));
        assert_eq!((acked, nacked, released, dead_lettered), (1, 1, 1, 1));
        assert_eq!((stats.ready, stats.parked, stats.published), (3, 1, 5));
        // Four messages waited for at least 50 ms, one was held as long.
        assert!(ms(stats.waiting_time_sum) >= 4 * 50, "{stats:?}");
        assert!(ms(stats.processing_time_sum) >= 40, "{stats:?}");
        assert!(at(stats.last_ack_time) >= granted - 50, "{stats:?}");
        assert_eq!(stats.oldest_unsettled_time, first.first_publish_time);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_for_its_first_delivery_only_once() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let held = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&held, SettleAction::Release)).await;
    let waited = scene.stats(&queue).await.waiting_time_sum;
    // Delivered again, and again after its lease expired.
    scene.receive_one(&queue, SHORT).await;
    let held = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&held, SettleAction::Ack)).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.delivered, stats.first_delivered, stats.waiting_time_sum), (3, 1, waited));
    assert_eq!((stats.released, stats.expired, stats.acked), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_gives_the_bytes_back() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    let request = v1::PurgeQueueRequest { name: queue.clone(), ..v1::PurgeQueueRequest::default() };
    scene.caller.queues().purge_queue(scene.caller.request(request)).await.unwrap();
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.purged, stats.published, stats.stored_bytes), (3, 3, 0));
    assert_eq!(stats.oldest_unsettled_time, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_tells_the_id_of_every_message_if_it_is_asked_to() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let open = publish_stream_request::Open {
        protocol_version: 1,
        queue: queue.clone(),
        tell_message_ids: true,
        ..Default::default()
    };
    let batch = publish_stream_request::Batch {
        batch_id: 1,
        messages: ["a", "b"].map(message).to_vec(),
        ..Default::default()
    };
    let frames = [publish_stream_request::Frame::Open(open), publish_stream_request::Frame::Batch(batch)];
    let frames = frames.map(|frame| PublishStreamRequest { frame: Some(frame) });
    let request = scene.caller.request(tokio_stream::iter(frames));
    let mut answers = scene.caller.publisher().publish_stream(request).await.unwrap().into_inner();
    let results = loop {
        let answer = answers.next().await.expect("the batch is answered").unwrap();
        let Some(publish_stream_response::Frame::BatchResult(result)) = answer.frame else { continue };
        match result.outcome.unwrap() {
            publish_stream_response::batch_result::Outcome::Results(results) => break results,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(results.all_stored, None);
    let mut ids = Vec::new();
    for result in results.results {
        let Some(publish_result::Result::Stored(stored)) = result.result else { panic!("{result:?}") };
        assert_eq!(scene.find(&stored.message_id).await.sequence, stored.sequence);
        ids.push(stored.message_id);
    }
    assert_eq!(ids.len(), 2);
}

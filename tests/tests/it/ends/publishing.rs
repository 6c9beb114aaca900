//! Publish streams: accepted batches are stored and recorded, however the stream ends, and nothing else is.

use posthouse_proto::v1::{
    self, NewMessage, PublishStreamRequest, PublishStreamResponse, publish_stream_request::Frame,
    publish_stream_response as out,
};
use posthouse_tests::harness::{
    eventually,
    http2::{self, CANCEL, INTERNAL_ERROR, NO_ERROR, data, message, reset, stream_windows, trailers},
    probe,
    publishing::{batch, open},
    scene::{self, Scene},
};
use prost::Message;

use super::{CALL, PREFIX_BYTES, Raw};

const PUBLISH_STREAM: &str = "/posthouse.v1.Publisher/PublishStream";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

fn publishing(frame: Frame) -> bytes::Bytes {
    message(&PublishStreamRequest { frame: Some(frame) })
}

async fn begin(scene: &Scene, queue: &str) -> Raw {
    let mut raw = Raw::connect(scene).await;
    let head = raw.http.head(CALL, PUBLISH_STREAM, &[]);
    raw.http.send(&[head, data(CALL, &publishing(Frame::Open(open(queue, None))), false)]).await;
    let opened = PublishStreamResponse::decode(raw.message().await.unwrap()).unwrap();
    assert!(matches!(opened.frame, Some(out::Frame::Opened(_))), "{opened:?}");
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let scene = Scene::start().await;
    let text = |text: &str| vec![scene::message(text)];
    let (end, cancel) = (data(CALL, &[], true), reset(CALL, CANCEL));
    let ends = [
        vec![end.clone()],
        vec![cancel.clone()],
        vec![reset(CALL, NO_ERROR)],
        vec![reset(CALL, INTERNAL_ERROR)],
        vec![trailers(CALL)],
        vec![end, cancel],
    ];
    for (number, end) in ends.iter().enumerate() {
        let queue = scene.plain_queue(&format!("q-{number}")).await;
        let mut raw = begin(&scene, &queue).await;
        let whole = publishing(Frame::Batch(batch(1, text("whole"))));
        raw.http.send(&[data(CALL, &whole, false)]).await;
        let answer = PublishStreamResponse::decode(raw.message().await.unwrap()).unwrap();
        assert!(matches!(answer.frame, Some(out::Frame::BatchResult(_))), "{answer:?}");
        // The prefix alone, a part of the message, all but its last byte.
        let part = publishing(Frame::Batch(batch(2, text("part"))));
        let length = [PREFIX_BYTES, PREFIX_BYTES + 4, part.len() - 1][number % 3];
        let mut frames = vec![data(CALL, &part[..length], false)];
        frames.extend_from_slice(end);
        raw.http.send(&frames).await;
        raw.http.ping().await;
        while raw.http.next().await != http2::Frame::Pong {}
        assert_eq!(scene.stats(&queue).await.last_sequence, 1, "{number}");
    }
    // Nothing of the calls is left.
    let streams = "posthouse_streams_open{method=\"posthouse.v1.Publisher/PublishStream\"}";
    eventually("the ends", async || {
        (probe::value(&probe::scrape(scene.site.management()).await, streams) == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_stored_although_nobody_hears_of_it() {
    let scene = Scene::start().await;
    for (number, code) in [CANCEL, NO_ERROR, INTERNAL_ERROR].into_iter().enumerate() {
        let queue = scene.plain_queue(&format!("q-{number}")).await;
        let mut raw = begin(&scene, &queue).await;
        // Its answers are blocked, which shows what was accepted.
        let batch = |id| {
            let messages = vec![NewMessage { payload: vec![7; 10_000].into(), ..NewMessage::default() }];
            data(CALL, &publishing(Frame::Batch(batch(id, messages))), false)
        };
        raw.http.send(&[stream_windows(0), batch(1), batch(2), batch(3)]).await;
        eventually("the batches", async || (scene.stats(&queue).await.last_sequence == 3).then_some(()))
            .await;
        raw.http.send(&[reset(CALL, code)]).await;
        raw.http.ping().await;
        while raw.http.next().await != http2::Frame::Pong {}
        assert_eq!(scene.stats(&queue).await.ready, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_the_server_s_health_that_is_cancelled_is_gone() {
    let scene = Scene::start().await;
    let streams = "posthouse_streams_open{method=\"grpc.health.v1.Health/Watch\"}";
    let watching = async || probe::value(&probe::scrape(scene.site.management()).await, streams);
    for code in [CANCEL, NO_ERROR, INTERNAL_ERROR] {
        let mut raw = Raw::connect(&scene).await;
        let request = tonic_health::pb::HealthCheckRequest::default();
        let head = raw.http.head(CALL, HEALTH_WATCH, &[]);
        raw.http.send(&[head, data(CALL, &message(&request), true)]).await;
        assert!(raw.message().await.is_some());
        assert_eq!(watching().await, 1.0);
        raw.http.send(&[reset(CALL, code)]).await;
        eventually("its end", async || (watching().await == 0.0).then_some(())).await;
    }
}

/// A call may be done if its request was complete before it was cancelled, and is not done otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_before_its_end_is_not_done() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for code in [CANCEL, NO_ERROR, INTERNAL_ERROR] {
        let mut raw = Raw::connect(&scene).await;
        let request = v1::PurgeQueueRequest { name: queue.clone(), ..v1::PurgeQueueRequest::default() };
        scene.publish(&queue, &["a"]).await;
        let before = scene.stats(&queue).await.ready;
        let head = raw.http.head(CALL, "/posthouse.v1.Queues/PurgeQueue", &[]);
        // The whole message, without the end of the call: another message might follow.
        raw.http.send(&[head, data(CALL, &message(&request), false), reset(CALL, code)]).await;
        raw.http.ping().await;
        while raw.http.next().await != http2::Frame::Pong {}
        assert_eq!(scene.stats(&queue).await.ready, before);
    }
}

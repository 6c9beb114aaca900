//! SIGTERM: no new leases, streams are notified, what was acked is durable, and the process ends cleanly and in time.

use std::time::{Duration, Instant};

use posthouse_client::{Client, NewMessage};
use posthouse_proto::v1::{
    PublishStreamRequest, consume_response, publish_stream_request, publish_stream_response,
};
use posthouse_tests::harness::{
    PATIENCE,
    scene::{Scene, message},
    server::Server,
    site::{CIVIL, Site},
    stream::{Stream, open},
    wire::Caller,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_and_the_process_ends_well() {
    let mut scene = Scene::on(Site::with_drain_deadline(DEADLINE)).await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    let held = stream.deliveries(1).await;

    let (frames, requests) = mpsc::channel(4);
    let publish = |frame| frames.send(PublishStreamRequest { frame: Some(frame) });
    let first = publish_stream_request::Open {
        protocol_version: 1,
        queue: queue.clone(),
        producer: None,
        ..Default::default()
    };
    publish(publish_stream_request::Frame::Open(first)).await.unwrap();
    let batch = publish_stream_request::Batch { messages: vec![message("b")], ..Default::default() };
    publish(publish_stream_request::Frame::Batch(batch)).await.unwrap();
    let request = scene.caller.request(ReceiverStream::new(requests));
    let mut answers = scene.caller.publisher().publish_stream(request).await.unwrap().into_inner();
    let mut next = async || {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect("an answer");
        answer.map(|answer| answer.unwrap().frame.unwrap())
    };
    assert!(matches!(next().await, Some(publish_stream_response::Frame::Opened(_))));
    assert!(matches!(next().await, Some(publish_stream_response::Frame::BatchResult(_))));

    let start = Instant::now();
    scene.server.terminate();
    // The credit is used up, so the next frame can only be the drain.
    let frame = stream.next().await.unwrap();
    assert!(matches!(frame, Some(consume_response::Frame::Drain(_))), "{frame:?}");
    assert!(matches!(next().await, Some(publish_stream_response::Frame::Drain(_))));
    drop(frames);
    stream.half_close();
    let status = scene.server.ended().await;
    assert_eq!(status.code(), Some(0), "{}", scene.server.log());
    assert!(start.elapsed() < DEADLINE + Duration::from_secs(5), "it took {:?}", start.elapsed());

    scene.server = Server::start(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready + stats.in_flight, stats.last_sequence), (2, 2), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_do_not_listen_are_cut_off_at_the_deadline() {
    let mut scene = Scene::on(Site::with_drain_deadline(Duration::from_secs(3))).await;
    let queue = scene.plain_queue("q").await;
    let _deaf = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    let start = Instant::now();
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
    assert!(start.elapsed() < Duration::from_secs(15), "it took {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_lives_through_a_restart() {
    let site = Site::new();
    let mut server = Server::start(&site).await;
    let client = Client::connect(site.context(CIVIL)).await.unwrap();
    client.queues().create("household-registry/q", &posthouse_client::QueueSettings::new()).await.unwrap();
    let publisher = client.publisher("household-registry/q").open().await.unwrap();
    let consumer = client.consumer("household-registry/q").open().await.unwrap();
    for round in 0..3 {
        let text = format!("message {round}");
        let ack = publisher.publish(NewMessage::new(text.clone())).await.unwrap();
        ack.await.unwrap();
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(&delivery.payload()[..], text.as_bytes());
        let settling = tokio::spawn(delivery.ack());
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0), "{}", server.log());
        server = Server::start(&site).await;
        tokio::time::timeout(PATIENCE, settling).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(client.queues().get("household-registry/q").await.unwrap().stats.unwrap().ready, 0);
}

//! Clients that do not read what the server sends them.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use posthouse_proto::v1::{
    NewMessage, PublishRequest, PublishStreamRequest,
    publish_stream_request::{Batch, Frame, Open},
};
use posthouse_tests::harness::{
    eventually,
    refusal::assert_refused,
    scene::Scene,
    site::CIVIL,
    stream::{Stream, open},
    wire::Caller,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

const SESSION: [u8; 16] = [9; 16];

/// A connection of its own, so that it has the windows alone.
async fn another(scene: &Scene, seconds: u64) -> Caller {
    let credentials = scene.site.credentials(CIVIL);
    let mut claims = scene.site.claims(CIVIL, &credentials.certificate);
    claims.exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    let token = scene.site.mint(CIVIL, &claims);
    Caller::connect(&scene.site, &credentials).await.with_token(Some(&token))
}

fn message(bytes: usize) -> NewMessage {
    NewMessage { payload: vec![0; bytes].into(), ..NewMessage::default() }
}

async fn publish(scene: &Scene, queue: &str, messages: Vec<NewMessage>) {
    let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
    scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consume_stream_that_is_not_read_ends_with_its_token_all_the_same() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..24 {
        publish(&scene, &queue, vec![message(1_000_000)]).await;
    }
    let caller = another(&scene, 3).await;
    let mut stream = Stream::open(&caller, open(&queue, SESSION, 100_000)).await;
    // As long as the stream lives, it is worked on.
    eventually("the end of the stream", async || {
        let mut received = 0;
        for _ in 0..4 {
            scene.publish(&queue, &["x"]).await;
            received += scene.receive_now(&queue, 1).await.len();
        }
        (received == 4).then_some(())
    })
    .await;
    assert_refused(stream.end().await, Code::Unauthenticated, "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_does_not_read_its_answers_stops_nobody_else() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let caller = another(&scene, 600).await;
    let (frames, requests) = mpsc::channel(1);
    let first = Open { protocol_version: 1, queue: queue.clone(), producer: None, ..Default::default() };
    frames.send(PublishStreamRequest { frame: Some(Frame::Open(first)) }).await.unwrap();
    let unread = caller.publisher().publish_stream(caller.request(ReceiverStream::new(requests))).await;
    let _unread = unread.unwrap();
    let sending = tokio::spawn(async move {
        // One message of each batch is refused, so that the answers are long; then many batches wait behind them.
        let refused = NewMessage {
            attributes: HashMap::from([(String::new(), String::new())]),
            ..NewMessage::default()
        };
        let long = || [vec![message(0); 1_000], vec![refused.clone()]].concat();
        for batch_id in 0..200 {
            let messages = if batch_id < 80 { long() } else { large_batch() };
            let batch = Batch { batch_id, messages, ..Batch::default() };
            if frames.send(PublishStreamRequest { frame: Some(Frame::Batch(batch)) }).await.is_err() {
                return;
            }
        }
    });
    let held = eventually("a stop of the sender", async || {
        let before = scene.stats(&queue).await.last_sequence;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let after = scene.stats(&queue).await.last_sequence;
        (before > 0 && before == after).then_some(after)
    })
    .await;
    assert!(!sending.is_finished(), "all was taken, up to {held}");
    tokio::time::timeout(posthouse_tests::harness::PATIENCE, publish(&scene, &queue, large_batch()))
        .await
        .expect("another publisher is served");
    sending.abort();
}

fn large_batch() -> Vec<NewMessage> {
    vec![message(900_000); 4]
}

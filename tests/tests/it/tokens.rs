//! Tokens that expire while a stream is open.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthouse_proto::v1::{
    self, PublishStreamRequest, ReceiveRequest, SettleAction, consume_request, consume_response,
    publish_stream_request,
};
use posthouse_tests::harness::{
    PATIENCE, eventually,
    refusal::assert_refused,
    scene::{LONG, Scene, settlement, text},
    site::CIVIL,
    stream::{Stream, open},
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Code;

const SESSION: [u8; 16] = [1; 16];

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of the scene's caller that expires in this many seconds.
fn token(scene: &Scene, seconds: u64) -> String {
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.exp = now() + seconds;
    scene.site.mint(CIVIL, &claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consume_stream_ends_with_its_token_and_is_taken_up_with_a_fresh_one() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let expiring = scene.caller.with_token(Some(&token(&scene, 3)));
    let mut stream = Stream::open(&expiring, open(&queue, SESSION, 10)).await;
    let held = stream.deliveries(1).await;
    let ends = now() + 3;
    assert_refused(stream.end().await, Code::Unauthenticated, "TOKEN_EXPIRED");
    assert!(now() + 1 >= ends, "the stream ended before its token");

    scene.publish(&queue, &["b"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 0)).await;
    assert_eq!(stream.opened.resumed_leases, 1);
    let resumed = stream.deliveries(1).await;
    assert_eq!(resumed[0].token, held[0].token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_ends_with_its_token() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let expiring = scene.caller.with_token(Some(&token(&scene, 3)));
    let (frames, requests) = mpsc::channel(4);
    let open =
        publish_stream_request::Open { protocol_version: 1, queue, producer: None, ..Default::default() };
    let first = PublishStreamRequest { frame: Some(publish_stream_request::Frame::Open(open)) };
    frames.send(first).await.unwrap();
    let request = expiring.request(ReceiverStream::new(requests));
    let mut answers = expiring.publisher().publish_stream(request).await.unwrap().into_inner();
    let end = async {
        loop {
            match answers.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => break Err(status),
                None => break Ok(()),
            }
        }
    };
    let end = tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
    assert_refused(end, Code::Unauthenticated, "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_waits_beyond_its_token_is_given_nothing() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let expiring = scene.caller.with_token(Some(&token(&scene, 3)));
    let ends = now() + 3;
    let wait = Some(prost_types::Duration { seconds: 15, nanos: 0 });
    let request = ReceiveRequest { queue: queue.clone(), max_messages: 1, wait, ..ReceiveRequest::default() };
    let waiting = tokio::spawn(async move { expiring.consumer().receive(expiring.request(request)).await });
    eventually("the end of the token", async || (now() > ends).then_some(())).await;
    assert!(!waiting.is_finished(), "it did not wait");
    scene.publish(&queue, &["a"]).await;
    assert_refused(waiting.await.unwrap(), Code::Unauthenticated, "TOKEN_EXPIRED");
    let delivery = scene.receive_one(&queue, LONG).await;
    assert_eq!((text(&delivery), delivery.attempt), ("a".into(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_token_keeps_a_stream_open() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let expiring = scene.caller.with_token(Some(&token(&scene, 3)));
    let ends = now() + 3;
    let mut stream = Stream::open(&expiring, open(&queue, SESSION, 10)).await;
    let fresh = v1::RefreshToken { token: token(&scene, 600) };
    stream.send(consume_request::Frame::RefreshToken(fresh)).await;
    let frames = stream.until_pong().await;
    let refreshed = frames.iter().any(|frame| matches!(frame, consume_response::Frame::TokenRefreshed(_)));
    assert!(refreshed, "{frames:?}");
    while now() < ends + 2 {
        stream.until_pong().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.publish(&queue, &["a"]).await;
    let delivery = stream.deliveries(1).await.remove(0);
    let settlements = vec![settlement(&delivery, SettleAction::Ack)];
    stream.send(consume_request::Frame::Settle(v1::SettleFrame { settle_id: 1, settlements })).await;
    let settled = stream.next().await.unwrap();
    assert!(matches!(settled, Some(consume_response::Frame::Settled(_))), "{settled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_token_replaces_all_rights() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 10)).await;
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.scope = format!("posthouse:publish:{CIVIL}/*/*");
    let narrower = v1::RefreshToken { token: scene.site.mint(CIVIL, &claims) };
    stream.send(consume_request::Frame::RefreshToken(narrower)).await;
    assert_refused(stream.end().await, Code::PermissionDenied, "GRANT_MISSING");

    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 10)).await;
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.sub = "somebody else".to_owned();
    let other = v1::RefreshToken { token: scene.site.mint(CIVIL, &claims) };
    stream.send(consume_request::Frame::RefreshToken(other)).await;
    assert!(stream.end().await.is_err(), "a stream changed hands");
}

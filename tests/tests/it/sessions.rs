//! Consumer sessions: after a broken connection the leases stay, after a clean end they are released.

use std::time::Duration;

use posthouse_proto::v1::{
    self, NewMessage, PublishRequest, SettleAction, consume_request, consume_response,
};
use posthouse_tests::harness::{
    eventually,
    refusal::assert_refused,
    scene::{LONG, Scene, settlement, text},
    site::CIVIL,
    stream::{Stream, open},
    wire::Caller,
};
use tonic::Code;

const SESSION: [u8; 16] = [1; 16];
const OTHER: [u8; 16] = [2; 16];

fn tokens(deliveries: &[v1::Delivery]) -> Vec<Vec<u8>> {
    let mut tokens: Vec<_> = deliveries.iter().map(|delivery| delivery.token.to_vec()).collect();
    tokens.sort();
    tokens
}

async fn settle(stream: &mut Stream, deliveries: &[v1::Delivery]) -> v1::SettledFrame {
    let settlements = deliveries.iter().map(|delivery| settlement(delivery, SettleAction::Ack)).collect();
    stream.send(consume_request::Frame::Settle(v1::SettleFrame { settle_id: 5, settlements })).await;
    loop {
        match stream.next().await.unwrap() {
            Some(consume_response::Frame::Settled(settled)) => return settled,
            Some(_) => {}
            None => panic!("the stream ended"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_gets_the_same_leases_again() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 3)).await;
    let held = stream.deliveries(3).await;
    assert_eq!(settle(&mut stream, &held[..1]).await.all_settled, 1);
    scene.caller.cut();

    let caller = Caller::connect(&scene.site, &scene.credentials).await;
    let mut stream = Stream::open(&caller, open(&queue, SESSION, 10)).await;
    assert_eq!(stream.opened.resumed_leases, 2);
    let resumed = stream.deliveries(2).await;
    assert!(resumed.iter().all(|delivery| delivery.resumed && delivery.attempt == 1), "{resumed:?}");
    assert_eq!(tokens(&resumed), tokens(&held[1..]));

    // The same after a crash of the server.
    scene.crash().await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 10)).await;
    let resumed = stream.deliveries(2).await;
    assert_eq!(tokens(&resumed), tokens(&held[1..]));
    assert_eq!(settle(&mut stream, &resumed).await.all_settled, 2);
    assert_eq!(scene.stats(&queue).await.in_flight, 0);
}

/// A client that settles what it still holds, before the server has sent all of it again, forgets it at the
/// confirmation; a delivery that is resumed after that would look new.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_resumed_comes_before_anything_is_confirmed() {
    const COUNT: usize = 64;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..COUNT {
        // They are more than the network and the stream accept: some wait in the server.
        let messages = vec![NewMessage { payload: vec![0; 300_000].into(), ..NewMessage::default() }];
        let request = PublishRequest { queue: queue.clone(), messages, ..PublishRequest::default() };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
    }
    let first = Caller::connect(&scene.site, &scene.credentials).await;
    let mut stream = Stream::open(&first, open(&queue, SESSION, 100)).await;
    let held = stream.deliveries(COUNT).await;
    first.cut();

    let second = Caller::connect(&scene.site, &scene.credentials).await;
    let mut stream = Stream::open(&second, open(&queue, SESSION, 100)).await;
    let settlements = held.iter().map(|delivery| settlement(delivery, SettleAction::Ack)).collect();
    stream.send(consume_request::Frame::Settle(v1::SettleFrame { settle_id: 5, settlements })).await;
    let settled = async || (scene.stats(&queue).await.in_flight == 0).then_some(());
    eventually("the settlements on disk", settled).await;
    let mut resumed = 0;
    loop {
        match stream.next().await.unwrap() {
            Some(consume_response::Frame::Deliveries(batch)) => resumed += batch.deliveries.len(),
            Some(consume_response::Frame::Settled(settled)) => break assert_eq!(settled.all_settled, 64),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(resumed, COUNT);
    let late = stream.until_pong().await;
    assert!(late.iter().all(|frame| matches!(frame, consume_response::Frame::Idle(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_stream_of_a_session_wins() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let mut older = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
    let held = older.deliveries(1).await;
    let mut newer = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
    assert_refused(older.end().await, Code::Aborted, "SESSION_TAKEN_OVER");
    let resumed = newer.deliveries(1).await;
    assert_eq!(tokens(&resumed), tokens(&held));
    assert_eq!(settle(&mut newer, &resumed).await.all_settled, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_subjects_own() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
    stream.deliveries(1).await;
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.sub = "somebody else".to_owned();
    let other = scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)));
    // Whether or not the session id itself is refused, it gives no access to another subject's leases.
    if let Ok(mut stolen) = Stream::try_open(&other, open(&queue, SESSION, 10)).await {
        assert_eq!(stolen.opened.resumed_leases, 0);
        let frames = stolen.until_pong().await;
        assert!(
            !frames.iter().any(|frame| matches!(frame, consume_response::Frame::Deliveries(_))),
            "{frames:?}"
        );
    }
    // And the owner's stream goes on.
    stream.until_pong().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_releases() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
    let held = stream.deliveries(1).await;
    stream.half_close();
    stream.end().await.unwrap();
    let delivery = scene.receive_one(&queue, LONG).await;
    assert_eq!(delivery.attempt, 1);
    assert_ne!(delivery.token, held[0].token);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_beyond_the_credits() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let texts: Vec<String> = (0..10).map(|number| format!("message {number}")).collect();
    scene.publish(&queue, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 3)).await;
    let mut found = stream.deliveries(3).await;
    assert_eq!(stream.until_pong().await, []);
    assert_eq!(scene.stats(&queue).await.in_flight, 3);

    // Credit for two more messages, but bytes only for one; a message is sent when all its bytes have credit.
    stream.send(consume_request::Frame::Credit(v1::Credit { messages: 2, bytes: 9 })).await;
    found.extend(stream.deliveries(1).await);
    assert_eq!(stream.until_pong().await, []);
    stream.send(consume_request::Frame::Credit(v1::Credit { messages: 6, bytes: 1000 })).await;
    found.extend(stream.deliveries(6).await);
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_told_when_there_is_nothing() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 10)).await;
    let idle = |waiting| Some(consume_response::Frame::Idle(v1::Idle { waiting, parked: 0 }));
    assert_eq!(stream.next().await.unwrap(), idle(0));
    scene.publish(&queue, &["a", "b"]).await;
    let deliveries = stream.deliveries(2).await;
    assert_eq!(settle(&mut stream, &deliveries[..1]).await.all_settled, 1);
    // One is still leased, though to this stream itself.
    assert_eq!(stream.until_pong().await, []);
    let mut nack = settlement(&deliveries[1], SettleAction::Nack);
    nack.delay = posthouse_tests::harness::scene::wire(Duration::from_secs(600));
    let frame = v1::SettleFrame { settle_id: 6, settlements: vec![nack] };
    stream.send(consume_request::Frame::Settle(frame)).await;
    loop {
        match stream.next().await.unwrap() {
            Some(consume_response::Frame::Settled(_)) => {}
            frame => break assert_eq!(frame, idle(1)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_on_a_deleted_queue_end() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut stream = Stream::open(&scene.caller, open(&queue, OTHER, 10)).await;
    let request = v1::DeleteQueueRequest { name: queue.clone(), ..v1::DeleteQueueRequest::default() };
    scene.caller.queues().delete_queue(scene.caller.request(request)).await.unwrap();
    assert_refused(stream.end().await, Code::NotFound, "QUEUE_DELETED");
    let again = Stream::try_open(&scene.caller, open(&queue, OTHER, 10)).await.err().unwrap();
    assert_refused(Err::<(), _>(again), Code::NotFound, "QUEUE_NOT_FOUND");
}

//! `Receive`: leases of a call that ends before its answer was sent are released, uncounted.

use std::time::{Duration, Instant};

use posthouse_proto::v1::{NewMessage, PublishRequest, ReceiveRequest, ReceiveResponse};
use posthouse_tests::harness::{
    eventually,
    http2::{CANCEL, Frame, data, message, reset, stream_windows},
    probe::{scrape, value},
    raw::edited,
    refusal::assert_refused,
    scene::{LONG, Scene, wire},
};
use prost::Message;
use tonic::Code;

use super::{CALL, Raw};

const RECEIVE: &str = "/posthouse.v1.Consumer/Receive";

fn request(queue: &str, wait: Duration) -> ReceiveRequest {
    ReceiveRequest {
        queue: queue.to_owned(),
        max_messages: 100,
        wait: wire(wait),
        lease_duration: wire(LONG),
        ..ReceiveRequest::default()
    }
}

/// Begins a call with a deadline.
async fn begin(raw: &mut Raw, request: &ReceiveRequest, timeout: &str) {
    let head = raw.http.head(CALL, RECEIVE, &[("grpc-timeout", timeout)]);
    raw.http.send(&[head, data(CALL, &message(request), true)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cancelled_while_it_waits_is_leased_nothing() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..20 {
        let mut raw = Raw::connect(&scene).await;
        let head = raw.http.head(CALL, RECEIVE, &[]);
        let body = data(CALL, &message(&request(&queue, Duration::from_secs(20))), true);
        raw.http.send(&[head, body]).await;
        raw.http.ping().await;
        while raw.http.next().await != Frame::Pong {}
        // The cancel and the message cross each other.
        let cancel = [reset(CALL, CANCEL)];
        tokio::join!(raw.http.send(&cancel), scene.publish(&queue, &["a"]));
        let delivery = scene.receive_one(&queue, LONG).await;
        assert_eq!(delivery.attempt, 1);
        let action = posthouse_proto::v1::SettleAction::Ack;
        scene.settled(&queue, posthouse_tests::harness::scene::settlement(&delivery, action)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cancelled_before_it_was_sent_its_whole_answer_leaves_no_lease() {
    const COUNT: u64 = 10;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let messages =
        (0..COUNT).map(|_| NewMessage { payload: vec![7; 300_000].into(), ..NewMessage::default() });
    let publish = PublishRequest { queue: queue.clone(), messages: messages.collect(), ..Default::default() };
    scene.caller.publisher().publish(scene.caller.request(publish)).await.unwrap();
    // Nothing of the answer fits the window, or a part of it does.
    for window in [0, 65_535, 1 << 20] {
        let mut raw = Raw::connect(&scene).await;
        raw.http.send(&[stream_windows(window)]).await;
        begin(&mut raw, &request(&queue, Duration::ZERO), "1H").await;
        eventually("its leases", async || (scene.stats(&queue).await.in_flight == COUNT).then_some(())).await;
        raw.http.send(&[reset(CALL, CANCEL)]).await;
        eventually("what goes back", async || (scene.stats(&queue).await.ready == COUNT).then_some(())).await;
    }
    // A caller that has received the answer keeps the leases, whatever happens to the connection.
    let received = scene.receive_now(&queue, 100).await;
    assert_eq!(received.len() as u64, COUNT);
    assert!(received.iter().all(|delivery| delivery.attempt == 1), "{received:?}");
    scene.caller.cut();
    let scene = Scene { caller: again(&scene).await, ..scene };
    assert_eq!(scene.stats(&queue).await.in_flight, COUNT);
}

async fn again(scene: &Scene) -> posthouse_tests::harness::wire::Caller {
    posthouse_tests::harness::wire::Caller::connect(&scene.site, &scene.credentials).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_with_a_deadline_is_answered_before_it_and_leased_nothing_at_its_end() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    // It would wait for 20 s.
    let mut raw = Raw::connect(&scene).await;
    let began = Instant::now();
    begin(&mut raw, &request(&queue, Duration::from_secs(20)), "2S").await;
    let answer = ReceiveResponse::decode(raw.message().await.expect("an answer")).unwrap();
    assert_eq!(answer.deliveries, []);
    assert!(began.elapsed() >= Duration::from_millis(1_850), "it may wait until 100 ms before the deadline");
    assert!(began.elapsed() < Duration::from_secs(19), "it does not wait for longer");
    // A message that is published later is not leased to it.
    scene.publish(&queue, &["a"]).await;
    assert_eq!(scene.stats(&queue).await.in_flight, 0);

    let caller = &scene.caller;
    let call = async |timeout: &'static str| {
        let bytes = request(&queue, Duration::ZERO).encode_to_vec().into();
        let set = move |http: &mut tonic::codegen::http::Request<tonic::body::Body>| {
            http.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        };
        edited(caller, RECEIVE, bytes, set).await
    };
    // Too little time for anything: the answer says so, rather than that the queue is empty.
    for timeout in ["100m", "1u", "0S"] {
        let mut raw = Raw::connect(&scene).await;
        begin(&mut raw, &request(&queue, Duration::ZERO), timeout).await;
        assert_eq!(raw.message().await, None, "{timeout}");
    }
    let metric = "posthouse_rpc_refusals_total{reason=\"DEADLINE_EXCEEDED\"}";
    assert_eq!(value(&scrape(scene.site.management()).await, metric), 3.0);
    for timeout in ["S", "1s", "123456789S", "-1S", "1.5S", ""] {
        let refusal = assert_refused(call(timeout).await, Code::InvalidArgument, "REQUEST_INVALID");
        assert_eq!(refusal.fields(), ["grpc-timeout"]);
    }
    assert_eq!(scene.stats(&queue).await.in_flight, 0);
    let answer = ReceiveResponse::decode(call("99999999H").await.unwrap()).unwrap();
    assert_eq!((answer.deliveries.len(), answer.deliveries[0].attempt), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_on_a_queue_that_is_deleted_meanwhile_says_so() {
    let scene = Scene::start().await;
    let mut deleted = 0;
    for _ in 0..50 {
        let queue = scene.plain_queue("q").await;
        let receives = futures_util::future::join_all((0..30).map(async |_| {
            let call = scene.caller.request(request(&queue, Duration::ZERO));
            scene.caller.consumer().receive(call).await
        }));
        let delete = posthouse_proto::v1::DeleteQueueRequest { name: queue.clone(), ..Default::default() };
        let delete =
            async { scene.caller.queues().delete_queue(scene.caller.request(delete)).await.unwrap() };
        let (answers, _) = tokio::join!(receives, delete);
        for refused in answers.into_iter().filter_map(Result::err) {
            let reason = posthouse_tests::harness::refusal::Refusal::from(&refused).reason;
            assert!(["QUEUE_NOT_FOUND", "QUEUE_DELETED"].contains(&reason.as_str()), "{refused:?}");
            deleted += u64::from(reason == "QUEUE_DELETED");
        }
    }
    println!("{deleted} were on their way");
}

/// Callers give up while messages are published: a lease whose caller cannot have received it is released.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_give_up_while_messages_come_cost_no_attempt() {
    const CALLS: u64 = 100;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut received = 0;
    for number in 0..CALLS {
        let mut raw = Raw::connect(&scene).await;
        let stays = number % 4 == 0;
        if !stays {
            raw.http.send(&[stream_windows(0)]).await;
        }
        let head = raw.http.head(CALL, RECEIVE, &[]);
        let body = data(CALL, &message(&request(&queue, Duration::from_secs(20))), true);
        raw.http.send(&[head, body]).await;
        scene.publish(&queue, &["a"]).await;
        if stays {
            // It receives what is there.
            let answer = ReceiveResponse::decode(raw.message().await.unwrap()).unwrap();
            assert!(answer.deliveries.iter().all(|delivery| delivery.attempt == 1));
            received += answer.deliveries.len() as u64;
            assert_eq!(raw.message().await, None);
        } else {
            raw.http.send(&[reset(CALL, CANCEL)]).await;
        }
    }
    assert!(received > 0);
    eventually("what goes back", async || {
        let stats = scene.stats(&queue).await;
        ((stats.in_flight, stats.ready) == (received, CALLS - received)).then_some(())
    })
    .await;
    let rest = scene.receive_now(&queue, 1_000).await;
    assert_eq!(rest.len() as u64, CALLS - received);
    assert!(rest.iter().all(|delivery| delivery.attempt == 1));
}

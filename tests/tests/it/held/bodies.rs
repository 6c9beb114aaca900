//! Requests that are not ended, or use more memory than their bytes.

use futures_util::future::join_all;
use posthouse_proto::v1::{
    NewMessage, PublishRequest, PublishStreamRequest, ReceiveRequest, SettleAction, SettleRequest,
    Settlement,
    publish_stream_request::{Batch, Frame as PublishFrame, Open},
};
use posthouse_tests::harness::{
    eventually,
    http2::{Frame, Http2, data, message},
    refusal::assert_refused,
    scene::{LONG, Scene, settlement, wire},
    site::{CIVIL, Site, TAXATION},
    wire::Caller,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{MIB, PUBLISH, figure, refusal, unfinished};

async fn publish(caller: &Caller, queue: &str, bytes: usize) -> Result<(), tonic::Status> {
    let messages = vec![NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() }];
    let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
    caller.publisher().publish(caller.request(request)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_holds_all_it_may_is_refused_can_still_settle_and_stops_no_other() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let delivery = scene.receive_one(&queue, LONG).await;
    let credentials = scene.site.credentials(CIVIL);
    let mut holding = Vec::new();
    for _ in 0..3 {
        let caller = Caller::connect(&scene.site, &credentials).await;
        for _ in 0..9 {
            let (caller, credentials) = (caller.clone(), credentials.clone());
            // Refused calls are made again.
            holding.push(tokio::spawn(async move {
                loop {
                    unfinished(caller.clone(), credentials.clone(), PUBLISH, 4 * MIB).await.ok();
                }
            }));
        }
    }
    eventually("a tenant that holds all it may", async || {
        let held = figure(&scene, "posthouse_held_bytes{what=\"requests\"}").await;
        assert!(held < (64 + 27) as f64 * MIB as f64, "{held}");
        (held >= 63.0 * MIB as f64).then_some(())
    })
    .await;
    // A refusal takes two seconds, and unfinished calls are refused too: the quicker one is accepted.
    let refused = eventually("a refusal", async || {
        let many = join_all((0..50).map(|_| publish(&scene.caller, &queue, 1_000))).await;
        many.into_iter().find_map(Result::err)
    })
    .await;
    let refused = assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "SERVER_OVERLOADED");
    assert!(refused.says_when_to_try_again());
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    let other = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    let returns = format!("tenants/{TAXATION}/departments/returns/queues/r");
    let definition = posthouse_proto::v1::Queue {
        name: returns.clone(),
        max_message_bytes: 3 << 20,
        ..Default::default()
    };
    let create = posthouse_proto::v1::CreateQueueRequest { queue: Some(definition), ..Default::default() };
    other.queues().create_queue(other.request(create)).await.unwrap();
    for answer in join_all((0..2).map(|_| publish(&other, &returns, 3 * MIB))).await {
        answer.unwrap();
    }
    assert!(figure(&scene, "posthouse_held_waits_total").await > 0.0);
    assert!(figure(&scene, "posthouse_held_refusals_total").await > 0.0);
    holding.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("all to be given back", async || {
        (figure(&scene, "posthouse_held_bytes{what=\"requests\"}").await == 0.0).then_some(())
    })
    .await;
    publish(&scene.caller, &queue, 1_000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_pauses_is_ended_and_a_stream_may_pause_between_messages() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut http = Http2::connect(&scene.site, &scene.site.credentials(CIVIL)).await;
    let whole = message(&PublishRequest {
        queue: queue.clone(),
        messages: vec![NewMessage { payload: vec![7; 1_000].into(), ..NewMessage::default() }],
        ..PublishRequest::default()
    });
    let frame = |frame| message(&PublishStreamRequest { frame: Some(frame) });
    let open = frame(PublishFrame::Open(Open { protocol_version: 1, queue, ..Open::default() }));
    let batch =
        frame(PublishFrame::Batch(Batch { messages: vec![NewMessage::default()], ..Batch::default() }));
    const STREAM: &str = "/posthouse.v1.Publisher/PublishStream";
    let heads = [
        http.head(1, PUBLISH, &[]),
        http.head(3, PUBLISH, &[]),
        http.head(5, STREAM, &[]),
        http.head(7, STREAM, &[]),
    ];
    http.send(&heads).await;
    // A part of a message; all of it, without the end of the call; a message and a part of the next; a message.
    http.send(&[data(1, &whole[..500], false), data(3, &whole, false)]).await;
    http.send(&[data(5, &[&open[..], &batch[..batch.len() - 1]].concat(), false), data(7, &open, false)])
        .await;
    let mut ended = Vec::new();
    while ended.len() < 3 {
        match http.next().await {
            Frame::Head(stream, true) => ended.push(stream),
            Frame::GoAway(_) | Frame::Closed => panic!("after {ended:?}"),
            // Other frames of an answered call do not matter.
            Frame::Reset(stream, _) => assert!(ended.contains(&stream), "{stream} after {ended:?}"),
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 3, 5]);
    let refusals = figure(&scene, "posthouse_rpc_refusals_total{reason=\"REQUEST_TOO_SLOW\"}").await;
    assert_eq!(refusals, 3.0);
    // The stream that pauses between its messages goes on.
    http.send(&[data(7, &batch, true)]).await;
    loop {
        match http.next().await {
            Frame::Data(7, bytes, _) if !bytes.is_empty() => break,
            Frame::GoAway(_) | Frame::Closed | Frame::Reset(7, _) => panic!("the stream has ended"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_are_counted_before_they_are_decoded() {
    const MANY: usize = 2_000_000;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let messages = vec![NewMessage::default(); MANY];
    let request =
        PublishRequest { queue: queue.clone(), messages: messages.clone(), ..PublishRequest::default() };
    let unary = scene.caller.publisher().publish(scene.caller.request(request)).await;
    assert_refused(unary, Code::InvalidArgument, "BATCH_INVALID");
    let open = PublishFrame::Open(Open { protocol_version: 1, queue: queue.clone(), ..Open::default() });
    let frames = [open, PublishFrame::Batch(Batch { messages, ..Batch::default() })];
    let frames = frames.map(|frame| PublishStreamRequest { frame: Some(frame) });
    let stream = scene.caller.request(futures_util::stream::iter(frames));
    let mut answers = scene.caller.publisher().publish_stream(stream).await.unwrap().into_inner();
    let end = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_refused(end, Code::InvalidArgument, "BATCH_INVALID");
    // Settlements use little, and no more of them is read.
    let too_many =
        [(100_000, Code::InvalidArgument, "BATCH_INVALID"), (MANY, Code::OutOfRange, "FRAME_INVALID")];
    for (many, code, reason) in too_many {
        let settlements = vec![Settlement::default(); many];
        let request = SettleRequest { queue: queue.clone(), settlements, ..SettleRequest::default() };
        let settled = scene.caller.consumer().settle(scene.caller.request(request)).await;
        assert_refused(settled, code, reason);
    }
    scene.publish(&queue, &["still here"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_takes_little() {
    let scene = Scene::start().await;
    let mut health = HealthClient::new(scene.caller.channel());
    let check = |bytes: usize| HealthCheckRequest { service: "x".repeat(bytes) };
    assert_refused(health.check(check(17 << 10)).await, Code::OutOfRange, "FRAME_INVALID");
    assert_eq!(health.check(check(15 << 10)).await.unwrap_err().code(), Code::NotFound);
    assert!(health.check(check(0)).await.is_ok());
    let watch = health.watch(check(17 << 10)).await.map(drop);
    assert_refused(watch, Code::OutOfRange, "FRAME_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn receives_that_wait_and_watches_and_streams_before_their_open_are_streams_of_the_tenant() {
    let site = Site::new();
    let name = format!("name = \"{CIVIL}\"\n");
    site.configure(&[(&name, &format!("{name}max_streams = 2\n"))]);
    let scene = Scene::on(site).await;
    let queue = scene.plain_queue("q").await;
    let receive = || {
        let wait = wire(std::time::Duration::from_secs(20));
        let request =
            ReceiveRequest { queue: queue.clone(), max_messages: 1, wait, ..ReceiveRequest::default() };
        let caller = scene.caller.clone();
        // The call that checks for the second may keep the second from being accepted.
        async move { while caller.consumer().receive(caller.request(request.clone())).await.is_err() {} }
    };
    let waiting = [tokio::spawn(receive()), tokio::spawn(receive())];
    let full = |answer: Result<(), tonic::Status>| match answer {
        Err(status) if status.code() == Code::ResourceExhausted => Some(status),
        _ => None,
    };
    let watch = || async {
        let check = HealthCheckRequest::default();
        HealthClient::new(scene.caller.channel()).watch(check).await.map(drop)
    };
    let refused = eventually("two streams", async || full(watch().await)).await;
    let refused = assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "LIMIT_REACHED");
    assert_eq!(refused.fact("limit"), Some("max_streams"));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let check = HealthCheckRequest::default();
    let watching = eventually("the slots of the streams that were closed", async || {
        HealthClient::new(scene.caller.channel()).watch(check.clone()).await.ok()
    })
    .await;
    // It needs no token, and so leaves capacity for calls with one.
    let refused = full(watch().await).expect("a second one without a token");
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "LIMIT_REACHED");
    let empty = ReceiveRequest { queue: queue.clone(), max_messages: 1, ..ReceiveRequest::default() };
    scene.caller.consumer().receive(scene.caller.request(empty)).await.unwrap();
    drop(watching);
    // A stream without its first message.
    let silent = || {
        let caller = scene.caller.clone();
        async move {
            loop {
                let requests = caller.request(futures_util::stream::pending::<PublishStreamRequest>());
                // Its answer begins with the call, and ends after ten seconds without a first message.
                if let Ok(answers) = caller.publisher().publish_stream(requests).await {
                    let _ = answers.into_inner().message().await;
                }
            }
        }
    };
    let silent: [tokio::task::JoinHandle<()>; 2] = [tokio::spawn(silent()), tokio::spawn(silent())];
    let refused = eventually("two streams", async || full(watch().await)).await;
    assert_refused(Err::<(), _>(refused), Code::ResourceExhausted, "LIMIT_REACHED");
    silent.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_more_than_one_message_is_refused() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut http = Http2::connect(&scene.site, &scene.site.credentials(CIVIL)).await;
    let request = PublishRequest {
        queue: queue.clone(),
        messages: vec![NewMessage::default()],
        ..PublishRequest::default()
    };
    let twice = message(&request).repeat(2);
    http.begin(1, PUBLISH).await;
    http.send(&[data(1, &twice, true)]).await;
    while !matches!(http.next().await, Frame::Head(1, true)) {}
    assert_eq!(figure(&scene, "posthouse_rpc_refusals_total{reason=\"FRAME_INVALID\"}").await, 1.0);
    assert_eq!(scene.stats(&queue).await.ready, 0);
    // A body that is cut off.
    let credentials = scene.site.credentials(CIVIL);
    let caller = Caller::connect(&scene.site, &credentials).await;
    let answer = unfinished(caller, credentials, "/posthouse.v1.Publisher/None", 16 << 10).await.unwrap();
    assert_refused(Err::<(), _>(refusal(&answer)), Code::PermissionDenied, "METHOD_NOT_ALLOWED");
}

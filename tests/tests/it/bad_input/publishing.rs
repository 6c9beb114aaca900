//! Messages and batches that no queue accepts.

use std::collections::HashMap;

use posthouse_proto::v1::{
    self, NewMessage, PublishRequest,
    publish_stream_request::{Batch, Frame},
    publish_stream_response::{self as out, BatchResult, batch_result},
};
use posthouse_tests::harness::{
    publishing::{PublishStream, batch, open},
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, message, queue_name},
};
use tonic::Code;

use super::{assert_says, assert_serves, publish, sized, stored_or_refused};

const MIB: usize = 1 << 20;
/// The largest batch: a gRPC message without its framing.
const BATCH: usize = 4 * MIB - (64 << 10);

fn attributes(pairs: impl IntoIterator<Item = (String, String)>) -> NewMessage {
    NewMessage { attributes: pairs.into_iter().collect(), ..sized(1) }
}

fn one(key: &str, value: &str) -> NewMessage {
    attributes([(key.to_owned(), value.to_owned())])
}

/// The results of a batch, or its refusal.
fn results(answer: BatchResult) -> Result<Vec<Result<u64, Refusal>>, Refusal> {
    match answer.outcome.unwrap() {
        batch_result::Outcome::Error(status) => Err(Refusal::from(&status)),
        batch_result::Outcome::Results(results) => Ok(match results.all_stored {
            Some(all) => (all.first_sequence..).take(all.count as usize).map(Ok).collect(),
            None => stored_or_refused(results.results),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused_alone() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let messages = || vec![message("a"), sized(MIB + 1), sized(MIB), message("b")];
    let unary = stored_or_refused(publish(&scene.caller, &queue, messages()).await.unwrap());
    let mut stream = PublishStream::open(&scene.caller, open(&queue, None)).await;
    assert_eq!(stream.opened.max_message_bytes as usize, MIB);
    let streamed = results(stream.publish(batch(1, messages())).await).unwrap();
    for (answers, first) in [(unary, 1), (streamed, 4)] {
        let [a, large, full, b] = &answers[..] else { panic!("{answers:?}") };
        assert_says(large.as_ref().unwrap_err(), Code::InvalidArgument, "MESSAGE_TOO_LARGE", MIB);
        assert_eq!((a, full, b), (&Ok(first), &Ok(first + 1), &Ok(first + 2)));
    }
    assert_eq!(results(stream.publish(batch(2, vec![message("c")])).await).unwrap(), [Ok(7)]);
    assert_eq!(scene.stats(&queue).await.ready, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_has_a_limit_of_its_own() {
    let scene = Scene::start().await;
    for (name, limit) in [("small", 100), ("large", BATCH)] {
        let name = queue_name(name);
        let queue = v1::Queue {
            name: name.clone(),
            max_message_bytes: limit.try_into().unwrap(),
            ..v1::Queue::default()
        };
        let request = v1::CreateQueueRequest { queue: Some(queue), ..v1::CreateQueueRequest::default() };
        scene.caller.queues().create_queue(scene.caller.request(request)).await.unwrap();
        assert_eq!(
            stored_or_refused(publish(&scene.caller, &name, vec![sized(limit)]).await.unwrap()),
            [Ok(1)]
        );
        assert_eq!(scene.receive_one(&name, LONG).await.message.unwrap().payload.len(), limit);
    }
    let answer =
        stored_or_refused(publish(&scene.caller, &queue_name("small"), vec![sized(101)]).await.unwrap());
    assert_says(answer[0].as_ref().unwrap_err(), Code::InvalidArgument, "MESSAGE_TOO_LARGE", 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_refused_whole_for_one_message() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let messages = vec![message("a"), one("", "value"), message("b")];
    let request =
        PublishRequest { queue: queue.clone(), messages: messages.clone(), atomic: true, producer: None };
    let answer = scene.caller.publisher().publish(scene.caller.request(request)).await;
    let refusal = assert_refused(answer, Code::InvalidArgument, "ATTRIBUTES_INVALID");
    assert_eq!(refusal.fields(), ["messages[1]"]);

    let mut stream = PublishStream::open(&scene.caller, open(&queue, None)).await;
    let atomic = Batch { atomic: true, ..batch(1, messages) };
    let refusal = results(stream.publish(atomic).await).unwrap_err();
    assert_says(&refusal, Code::InvalidArgument, "ATTRIBUTES_INVALID", 128);
    assert_eq!(refusal.fields(), ["messages[1]"]);
    assert_eq!(scene.stats(&queue).await.last_sequence, 0);
    assert_eq!(results(stream.publish(batch(2, vec![message("c")])).await).unwrap(), [Ok(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_have_limits() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let many = |count: usize| attributes((0..count).map(|number| (format!("k{number}"), String::new())));
    let (key, value) = ("k".repeat(128), "v".repeat(1024));
    // Bytes are counted, not characters.
    let wide = "é".repeat(64);
    let bad = [
        (many(65), 64),
        (one("", ""), 128),
        (one(&format!("{key}k"), ""), 128),
        (one(&format!("{wide}k"), ""), 128),
        (one("k", &format!("{value}v")), 1024),
        (one("k", &"v".repeat(64 << 10)), 1024),
    ];
    let good = [many(64), one(&key, &value), one(&wide, "")];
    let messages = bad.iter().map(|(message, _)| message.clone()).chain(good.clone()).collect();
    let answers = stored_or_refused(publish(&scene.caller, &queue, messages).await.unwrap());
    for (answer, (_, limit)) in answers.iter().zip(&bad) {
        assert_says(answer.as_ref().unwrap_err(), Code::InvalidArgument, "ATTRIBUTES_INVALID", limit);
    }
    assert_eq!(answers[bad.len()..], [Ok(1), Ok(2), Ok(3)]);
    let received = scene.receive(&queue, 10, LONG).await;
    let received: Vec<_> =
        received.into_iter().map(|delivery| delivery.message.unwrap().attributes).collect();
    assert_eq!(received, good.map(|message| message.attributes));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attribute_may_hold_comes_out_as_it_went_in() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let pairs = [("\0\r\n\u{1b}[31m", "\u{7f}\u{202e}\0"), ("grpc-status", "0"), ("а", "\u{10ffff}")];
    let attributes: HashMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let odd = NewMessage { payload: vec![0, 0xff, 0xfe].into(), attributes };
    assert_eq!(stored_or_refused(publish(&scene.caller, &queue, vec![odd.clone()]).await.unwrap()), [Ok(1)]);
    let received = scene.receive_one(&queue, LONG).await.message.unwrap();
    assert_eq!((received.payload, received.attributes), (odd.payload, odd.attributes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_limits() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut stream = PublishStream::open(&scene.caller, open(&queue, None)).await;
    let full = vec![sized(MIB), sized(MIB), sized(MIB), sized(BATCH - 3 * MIB)];
    let over = vec![sized(MIB), sized(MIB), sized(MIB), sized(BATCH - 3 * MIB + 1)];
    for (messages, limit) in [(vec![], None), (vec![sized(1); 1025], Some(1024)), (over, Some(BATCH))] {
        let unary = publish(&scene.caller, &queue, messages.clone()).await;
        let unary = assert_refused(unary, Code::InvalidArgument, "BATCH_INVALID");
        let streamed = results(stream.publish(batch(1, messages)).await).unwrap_err();
        assert_eq!((streamed.code, streamed.reason.as_str()), (Code::InvalidArgument, "BATCH_INVALID"));
        for refusal in [unary, streamed] {
            assert_eq!(refusal.fact("limit"), limit.map(|limit| limit.to_string()).as_deref());
            assert_eq!(refusal.fields(), ["messages"]);
        }
    }
    assert_eq!(scene.stats(&queue).await.last_sequence, 0);
    assert_eq!(results(stream.publish(batch(2, full)).await).unwrap().len(), 4);
    assert_eq!(results(stream.publish(batch(3, vec![sized(1); 1024])).await).unwrap().len(), 1024);
    assert_eq!(scene.stats(&queue).await.last_sequence, 1028);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_larger_than_any_ends_its_stream_and_nothing_else() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let refusal = publish(&scene.caller, &queue, vec![sized(5 * MIB)]).await;
    let refusal = assert_refused(refusal, Code::OutOfRange, "FRAME_INVALID");
    assert_says(&refusal, Code::OutOfRange, "FRAME_INVALID", 4 * MIB);

    let mut stream = PublishStream::open(&scene.caller, open(&queue, None)).await;
    stream.send(Some(Frame::Batch(batch(1, vec![message("a")])))).await;
    stream.send(Some(Frame::Batch(batch(2, vec![sized(MIB); 5])))).await;
    // The batch before it is answered.
    match stream.next().await.unwrap() {
        Some(out::Frame::BatchResult(result)) => assert_eq!(results(result), Ok(vec![Ok(1)])),
        other => panic!("{other:?}"),
    }
    let refusal = assert_refused(stream.end().await, Code::OutOfRange, "FRAME_INVALID");
    assert_says(&refusal, Code::OutOfRange, "FRAME_INVALID", 4 * MIB);
    // On the same connection.
    assert_eq!(scene.publish(&queue, &["b"]).await, [2]);
    assert_serves(&scene).await;
}

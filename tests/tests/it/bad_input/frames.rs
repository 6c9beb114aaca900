//! Streams with a wrong first frame or a wrong later one.

use bytes::Bytes;
use posthouse_proto::v1::{
    self, ConsumeRequest, Credit, Ping, PublishStreamRequest,
    consume_request::Frame,
    publish_stream_request::{self, Frame as PublishFrame},
};
use posthouse_tests::harness::{
    publishing::{self, PublishStream},
    raw,
    refusal::{Refusal, assert_refused},
    scene::{Scene, message},
    stream::{Stream, open},
    wire::Caller,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{assert_says, assert_serves};

const CONSUME: &str = "/posthouse.v1.Consumer/Consume";
const PUBLISH: &str = "/posthouse.v1.Publisher/PublishStream";
const SESSION: [u8; 16] = [5; 16];

/// How a stream of these frames ends. The client's side stays open, so that the server ends it.
async fn ends(caller: &Caller, path: &str, frames: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Status> {
    let (sender, requests) = mpsc::channel::<Bytes>(64);
    for frame in frames {
        sender.send(frame.into()).await.unwrap();
    }
    let mut answers = raw::streaming(caller, path, ReceiverStream::new(requests)).await?;
    let end = async {
        while answers.message().await?.is_some() {}
        Ok(())
    };
    tokio::time::timeout(posthouse_tests::harness::PATIENCE, end).await.expect("the stream goes on")
}

fn consume(frame: Frame) -> Vec<u8> {
    ConsumeRequest { frame: Some(frame) }.encode_to_vec()
}

fn publish(frame: PublishFrame) -> Vec<u8> {
    PublishStreamRequest { frame: Some(frame) }.encode_to_vec()
}

/// Field 99 with a text, which no version has.
fn unknown() -> Vec<u8> {
    [&[0x9a, 0x06, 5][..], b"hello"].concat()
}

#[track_caller]
fn assert_frame(end: Result<(), Status>, word: &str) {
    let refusal = assert_refused(end, Code::InvalidArgument, "FRAME_INVALID");
    assert!(refusal.message.contains(word), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_one_open_and_holds_known_frames_only() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let caller = &scene.caller;
    let opens = || consume(Frame::Open(open(&queue, SESSION, 1)));
    let ping = || consume(Frame::Ping(Ping { ping_id: 1 }));
    assert_frame(ends(caller, CONSUME, [ping()]).await, "first frame");
    assert_frame(ends(caller, CONSUME, [vec![]]).await, "first frame");
    assert_frame(ends(caller, CONSUME, [unknown()]).await, "first frame");
    assert_frame(ends(caller, CONSUME, [vec![0xff; 9]]).await, "decoded");
    assert_frame(ends(caller, CONSUME, [opens(), opens()]).await, "first frame only");
    assert_frame(ends(caller, CONSUME, [opens(), vec![]]).await, "kind");
    assert_frame(ends(caller, CONSUME, [opens(), unknown()]).await, "kind");
    assert_frame(ends(caller, CONSUME, [opens(), vec![0x1a, 0xff]]).await, "decoded");

    let opens = || publish(PublishFrame::Open(publishing::open(&queue, None)));
    let batch = || publish(PublishFrame::Batch(publishing::batch(1, vec![message("b")])));
    assert_frame(ends(caller, PUBLISH, [batch()]).await, "first frame");
    assert_frame(ends(caller, PUBLISH, [vec![]]).await, "first frame");
    assert_frame(ends(caller, PUBLISH, [unknown()]).await, "first frame");
    assert_frame(ends(caller, PUBLISH, [b"GET / HTTP/1.1\r\n\r\n".to_vec()]).await, "decoded");
    assert_eq!(scene.stats(&queue).await.last_sequence, 1);
    // The batch before the bad frame is stored.
    assert_frame(ends(caller, PUBLISH, [opens(), batch(), opens()]).await, "first frame only");
    assert_frame(ends(caller, PUBLISH, [opens(), batch(), unknown()]).await, "kind");
    assert_frame(ends(caller, PUBLISH, [opens(), batch(), vec![0x12, 0xff, 0xff]]).await, "decoded");
    assert_eq!(scene.stats(&queue).await.last_sequence, 4);
    // An unknown field beside a known one is from a newer client, and is ignored.
    let newer = [opens(), [batch(), unknown()].concat()];
    let (sender, requests) = mpsc::channel::<Bytes>(4);
    for frame in newer {
        sender.send(frame.into()).await.unwrap();
    }
    drop(sender);
    let mut answers = raw::streaming(caller, PUBLISH, ReceiverStream::new(requests)).await.unwrap();
    while answers.message().await.unwrap().is_some() {}
    // Whether or not a bad stream had leased it, the message is its session's, and no attempt is counted.
    let mut stream = Stream::open(caller, open(&queue, SESSION, 1)).await;
    assert_eq!(stream.deliveries(1).await[0].attempt, 1);
    assert_eq!(scene.stats(&queue).await.last_sequence, 5);
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_version_is_told_which_is_spoken() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for protocol_version in [0, 2, u32::MAX] {
        let first = v1::OpenConsume { protocol_version, ..open(&queue, SESSION, 1) };
        let consume = Stream::try_open(&scene.caller, first).await.err().unwrap();
        let first = publish_stream_request::Open { protocol_version, ..publishing::open(&queue, None) };
        let publish = PublishStream::try_open(&scene.caller, first).await.err().unwrap();
        for status in [consume, publish] {
            let reason = "PROTOCOL_VERSION_UNSUPPORTED";
            let refusal = assert_refused(Err::<(), _>(status), Code::InvalidArgument, reason);
            assert_eq!(refusal.fact("supported"), Some("1"));
            assert!(refusal.message.contains(&protocol_version.to_string()), "{refusal:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_has_sixteen_bytes() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for length in [0, 15, 17, 64 << 10] {
        let first = v1::OpenConsume { session_id: vec![1; length].into(), ..open(&queue, SESSION, 1) };
        let status = Stream::try_open(&scene.caller, first).await.err().unwrap();
        let refusal = assert_refused(Err::<(), _>(status), Code::InvalidArgument, "REQUEST_INVALID");
        assert_says(&refusal, Code::InvalidArgument, "REQUEST_INVALID", 16);
        assert_eq!(refusal.fields(), ["session_id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_duration_has_a_range() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for (seconds, nanos) in [(0, 0), (0, 999_000_000), (-1, 0), (43_200, 1_000_000), (1, -1)] {
        let lease_duration = Some(prost_types::Duration { seconds, nanos });
        let first = v1::OpenConsume { lease_duration, ..open(&queue, SESSION, 1) };
        let status = Stream::try_open(&scene.caller, first).await.err().unwrap();
        let refusal = assert_refused(Err::<(), _>(status), Code::InvalidArgument, "REQUEST_INVALID");
        assert_eq!(refusal.fields(), ["lease_duration"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_has_a_ceiling_which_additions_do_not_pass() {
    const MESSAGES: u32 = 100_000;
    const BYTES: u64 = 1 << 30;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let credit = |messages, bytes| Credit { messages, bytes };
    // Too much at once, as the first credit or a later one.
    for (much, field, limit) in [
        (credit(MESSAGES + 1, 0), "messages", u64::from(MESSAGES)),
        (credit(u32::MAX, 0), "messages", u64::from(MESSAGES)),
        (credit(1, BYTES + 1), "bytes", BYTES),
        (credit(1, u64::MAX), "bytes", BYTES),
    ] {
        let first = v1::OpenConsume { credit: Some(much), ..open(&queue, SESSION, 0) };
        let refused = Stream::try_open(&scene.caller, first).await.err().unwrap();
        let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 0)).await;
        stream.send(Frame::Credit(much)).await;
        for refusal in [Refusal::from(&refused), Refusal::from(&stream.end().await.unwrap_err())] {
            assert_says(&refusal, Code::OutOfRange, "REQUEST_INVALID", limit);
            assert_eq!(refusal.fields(), [field]);
        }
    }
    // Too much in sum: up to the limit, then one more.
    for (step, one_more) in [(credit(MESSAGES / 4, 0), credit(1, 0)), (credit(0, BYTES / 4), credit(0, 1))] {
        let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 0)).await;
        for _ in 0..4 {
            stream.send(Frame::Credit(step)).await;
        }
        stream.until_pong().await;
        stream.send(Frame::Credit(one_more)).await;
        assert_refused(stream.end().await, Code::OutOfRange, "REQUEST_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_passed_its_credit_loses_nothing() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
    let held = stream.deliveries(1).await;
    // A credit of nothing is valid.
    stream.send(Frame::Credit(Credit::default())).await;
    assert_eq!(stream.until_pong().await, []);
    stream.send(Frame::Credit(Credit { messages: u32::MAX, bytes: u64::MAX })).await;
    assert_refused(stream.end().await, Code::OutOfRange, "REQUEST_INVALID");
    // Resumed deliveries use up credit too.
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 2)).await;
    let again = stream.deliveries(2).await;
    assert_eq!(again[0].token, held[0].token);
    assert!(again[0].resumed && !again[1].resumed, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_nothing_is_ended() {
    let scene = Scene::start().await;
    scene.plain_queue("q").await;
    let (consume, publish) = tokio::join!(ends(&scene.caller, CONSUME, []), ends(&scene.caller, PUBLISH, []));
    assert_refused(consume, Code::FailedPrecondition, "STREAM_IDLE");
    assert_refused(publish, Code::FailedPrecondition, "STREAM_IDLE");
}

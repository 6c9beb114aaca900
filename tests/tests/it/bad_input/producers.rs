//! Wrong use of producer sessions on streams; `producers` beside this folder has the unary calls.

use posthouse_proto::v1::{
    ProducerSession, PublishRequest,
    publish_stream_request::{Batch, Frame, Producer},
    publish_stream_response::{BatchResult, batch_result},
};
use posthouse_tests::harness::{
    publishing::{PublishStream, batch, open},
    refusal::{Refusal, assert_refused},
    scene::{Scene, message},
    site::CIVIL,
    wire::Caller,
};
use tonic::{Code, Status};

use super::assert_serves;

fn producer(epoch: u64) -> Option<Producer> {
    Some(Producer { producer_id: vec![8; 16].into(), epoch })
}

fn at(first_sequence: u64, text: &str) -> Batch {
    Batch { first_sequence, ..batch(first_sequence, vec![message(text)]) }
}

#[track_caller]
fn refused(answer: BatchResult, code: Code, reason: &str) -> Refusal {
    let Some(batch_result::Outcome::Error(status)) = answer.outcome else {
        panic!("not refused: {answer:?}")
    };
    let refusal = Refusal::from(&status);
    assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{refusal:?}");
    refusal
}

fn first_stored(answer: BatchResult) -> u64 {
    match answer.outcome {
        Some(batch_result::Outcome::Results(results)) => results.all_stored.unwrap().first_sequence,
        other => panic!("{other:?}"),
    }
}

/// A neighbour in the same tenant.
fn neighbour(scene: &Scene) -> Caller {
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.sub = "a neighbour".to_owned();
    scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_and_the_stream_goes_on_where_it_stood() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut stream = PublishStream::open(&scene.caller, open(&queue, producer(1))).await;
    assert_eq!(first_stored(stream.publish(at(0, "a")).await), 1);
    for gap in [2, 1_000, u64::MAX] {
        let answer = stream.publish(at(gap, "lost?")).await;
        let refusal = refused(answer, Code::FailedPrecondition, "PRODUCER_SEQUENCE_GAP");
        assert_eq!(refusal.fact("expected_sequence"), Some("1"));
    }
    assert_eq!(first_stored(stream.publish(at(1, "b")).await), 2);
    assert_eq!(scene.stats(&queue).await.last_sequence, 2);
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_epoch_is_refused_on_its_open_stream_and_on_a_new_one() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut old = PublishStream::open(&scene.caller, open(&queue, producer(1))).await;
    assert_eq!(first_stored(old.publish(at(0, "a")).await), 1);
    let mut new = PublishStream::open(&scene.caller, open(&queue, producer(2))).await;
    assert_eq!(new.opened.next_sequence, 0);
    assert_eq!(first_stored(new.publish(at(0, "b")).await), 2);
    refused(old.publish(at(1, "c")).await, Code::FailedPrecondition, "PRODUCER_FENCED");
    let again = PublishStream::try_open(&scene.caller, open(&queue, producer(1))).await.err().unwrap();
    assert_refused(Err::<(), _>(again), Code::FailedPrecondition, "PRODUCER_FENCED");
    assert_eq!(first_stored(new.publish(at(1, "d")).await), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbours_producer_id_is_refused_and_does_not_fence_its_owner() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut owner = PublishStream::open(&scene.caller, open(&queue, producer(1))).await;
    assert_eq!(first_stored(owner.publish(at(0, "a")).await), 1);
    let neighbour = neighbour(&scene);
    for epoch in [1, 2, u64::MAX] {
        let status = PublishStream::try_open(&neighbour, open(&queue, producer(epoch))).await.err().unwrap();
        assert_refused(Err::<(), _>(status), Code::PermissionDenied, "PRODUCER_FOREIGN");
    }
    assert_eq!(first_stored(owner.publish(at(1, "b")).await), 2);
    // On another queue the id can be used.
    let other = scene.plain_queue("other").await;
    let mut stream = PublishStream::open(&neighbour, open(&other, producer(1))).await;
    assert_eq!(first_stored(stream.publish(at(0, "c")).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_id_has_sixteen_bytes_and_an_epoch_counts_from_one() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let both = async |length: usize, epoch| -> [Status; 2] {
        let producer_id: bytes::Bytes = vec![8; length].into();
        let first = open(&queue, Some(Producer { producer_id: producer_id.clone(), epoch }));
        let request = PublishRequest {
            queue: queue.clone(),
            messages: vec![message("a")],
            producer: Some(ProducerSession { producer_id, epoch, first_sequence: 0 }),
            ..PublishRequest::default()
        };
        let unary = scene.caller.publisher().publish(scene.caller.request(request)).await;
        [unary.unwrap_err(), PublishStream::try_open(&scene.caller, first).await.err().unwrap()]
    };
    for (length, epoch, field) in [
        (0, 1, "producer.producer_id"),
        (15, 1, "producer.producer_id"),
        (17, 1, "producer.producer_id"),
        (16, 0, "producer.epoch"),
    ] {
        for status in both(length, epoch).await {
            let refusal = assert_refused(Err::<(), _>(status), Code::InvalidArgument, "REQUEST_INVALID");
            assert_eq!(refusal.fields(), [field]);
        }
    }
    assert_eq!(scene.stats(&queue).await.last_sequence, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_at_the_end_of_all_numbers_halt_nothing() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut stream = PublishStream::open(&scene.caller, open(&queue, producer(u64::MAX))).await;
    let last = Batch { first_sequence: u64::MAX, ..batch(1, vec![message("a"), message("b")]) };
    refused(stream.publish(last).await, Code::FailedPrecondition, "PRODUCER_SEQUENCE_GAP");
    assert_eq!(first_stored(stream.publish(at(0, "c")).await), 1);
    stream.send(Some(Frame::Batch(at(1, "d")))).await;
    stream.half_close();
    stream.end().await.unwrap();
    assert_serves(&scene).await;
}

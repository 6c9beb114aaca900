//! Producer sessions: a retry never stores twice, and only its owner uses a session.

use posthouse_proto::v1::{
    ProducerSession, PublishRequest, PublishResponse, PublishStreamRequest, publish_result,
    publish_stream_request, publish_stream_response,
};
use posthouse_tests::harness::{
    PATIENCE,
    refusal::assert_refused,
    scene::{Scene, message},
    site::CIVIL,
    wire::Caller,
};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

const PRODUCER: [u8; 16] = [7; 16];

async fn publish(
    caller: &Caller,
    queue: &str,
    epoch: u64,
    first_sequence: u64,
    texts: &[&str],
) -> Result<Vec<publish_result::Result>, Status> {
    let producer =
        posthouse_proto::v1::ProducerSession { producer_id: PRODUCER.to_vec().into(), epoch, first_sequence };
    let request = PublishRequest {
        queue: queue.to_owned(),
        messages: texts.iter().map(|text| message(text)).collect(),
        producer: Some(producer),
        ..PublishRequest::default()
    };
    let answer: PublishResponse = caller.publisher().publish(caller.request(request)).await?.into_inner();
    Ok(answer.results.into_iter().map(|result| result.result.unwrap()).collect())
}

/// The sequences of the messages, and whether an earlier attempt had stored them.
fn sequences(results: &[publish_result::Result]) -> Vec<(u64, bool)> {
    let stored = |result: &publish_result::Result| match result {
        publish_result::Result::Stored(stored) => (stored.sequence, false),
        publish_result::Result::Duplicate(duplicate) => (duplicate.sequence, true),
        publish_result::Result::Error(status) => panic!("refused: {status:?}"),
    };
    results.iter().map(stored).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_as_it_was_and_stores_nothing() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let first = publish(&scene.caller, &queue, 1, 0, &["a", "b"]).await.unwrap();
    assert_eq!(sequences(&first), [(1, false), (2, false)]);
    let again = publish(&scene.caller, &queue, 1, 0, &["a", "b"]).await.unwrap();
    assert_eq!(sequences(&again), [(1, true), (2, true)]);
    scene.crash().await;
    let again = publish(&scene.caller, &queue, 1, 0, &["a", "b"]).await.unwrap();
    assert_eq!(sequences(&again), [(1, true), (2, true)]);
    let next = publish(&scene.caller, &queue, 1, 2, &["c"]).await.unwrap();
    assert_eq!(sequences(&next), [(3, false)]);
    assert_eq!(scene.stats(&queue).await.ready, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_a_fenced_epoch_and_a_foreign_session_are_refused() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    publish(&scene.caller, &queue, 1, 0, &["a"]).await.unwrap();
    let gap = publish(&scene.caller, &queue, 1, 5, &["b"]).await;
    let gap = assert_refused(gap, Code::FailedPrecondition, "PRODUCER_SEQUENCE_GAP");
    assert!(gap.metadata.contains(&("expected_sequence".to_owned(), "1".to_owned())), "{gap:?}");

    publish(&scene.caller, &queue, 2, 0, &["c"]).await.unwrap();
    let fenced = publish(&scene.caller, &queue, 1, 1, &["b"]).await;
    assert_refused(fenced, Code::FailedPrecondition, "PRODUCER_FENCED");

    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.sub = "somebody else".to_owned();
    let other = scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)));
    let foreign = publish(&other, &queue, 3, 0, &["d"]).await;
    assert_refused(foreign, Code::PermissionDenied, "PRODUCER_FOREIGN");
    assert_eq!(scene.stats(&queue).await.ready, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_the_session_stands() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let open = publish_stream_request::Open {
        protocol_version: 1,
        queue: queue.clone(),
        producer: Some(publish_stream_request::Producer { producer_id: PRODUCER.to_vec().into(), epoch: 1 }),
        ..Default::default()
    };
    for expected in [0, 2] {
        let batch = publish_stream_request::Batch {
            batch_id: 9,
            messages: vec![message("a"), message("b")],
            first_sequence: expected,
            atomic: false,
        };
        let frames =
            [publish_stream_request::Frame::Open(open.clone()), publish_stream_request::Frame::Batch(batch)];
        let frames = frames.map(|frame| PublishStreamRequest { frame: Some(frame) });
        let request = scene.caller.request(tokio_stream::iter(frames));
        let mut answers = scene.caller.publisher().publish_stream(request).await.unwrap().into_inner();
        let mut next = async || {
            let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect("an answer");
            answer.map(|answer| answer.unwrap().frame.unwrap())
        };
        let Some(publish_stream_response::Frame::Opened(opened)) = next().await else { panic!("not opened") };
        assert_eq!(opened.next_sequence, expected);
        let Some(publish_stream_response::Frame::BatchResult(result)) = next().await else {
            panic!("no result")
        };
        let Some(publish_stream_response::batch_result::Outcome::Results(results)) = result.outcome else {
            panic!("{result:?}")
        };
        let all = results.all_stored.unwrap();
        assert_eq!((result.batch_id, all.first_sequence, all.count), (9, expected + 1, 2));
        assert_eq!(next().await, None);
    }
}

/// A caller that may publish can begin any number of sessions: at the limit it keeps only itself from more.
#[tokio::test(flavor = "multi_thread")]
async fn a_subject_with_too_many_sessions_is_refused_and_nobody_else() {
    const MAX_SESSIONS: u64 = 10_000;
    const CALLERS: u64 = 64;
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let begin = async |caller: &Caller, number: u64| {
        let producer_id = [number.to_be_bytes(), [1; 8]].concat();
        let producer = ProducerSession { producer_id: producer_id.into(), epoch: 1, first_sequence: 0 };
        let request = PublishRequest {
            queue: queue.clone(),
            messages: vec![message("x")],
            producer: Some(producer),
            ..PublishRequest::default()
        };
        caller.publisher().publish(caller.request(request)).await.map(drop)
    };
    let some = (0..CALLERS).map(|first| {
        let caller = &scene.caller;
        async move {
            for number in (first..MAX_SESSIONS).step_by(CALLERS as usize) {
                begin(caller, number).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(some).await;
    let refusal =
        assert_refused(begin(&scene.caller, MAX_SESSIONS).await, Code::ResourceExhausted, "LIMIT_REACHED");
    assert!(refusal.message.contains("10000 producer sessions"), "{}", refusal.message);
    assert!(refusal.says_when_to_try_again());
    scene.crash().await;
    assert_refused(begin(&scene.caller, MAX_SESSIONS).await, Code::ResourceExhausted, "LIMIT_REACHED");
    // Its sessions go on, and another subject has its own limit.
    begin(&scene.caller, 0).await.unwrap();
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.sub = "another".to_owned();
    let another = scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)));
    begin(&another, MAX_SESSIONS).await.unwrap();
}

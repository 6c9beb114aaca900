//! A batch that is sent again is answered as it was, also if the limit of a message's size has changed since: no
//! message that was refused is reported as stored, and none that was stored as refused.

use posthouse_proto::v1::{
    self, ProducerSession, PublishRequest, publish_result,
    publish_stream_request::{self, Batch},
    publish_stream_response::batch_result::Outcome,
};
use posthouse_tests::harness::{
    publishing::{self, PublishStream},
    refusal::Refusal,
    scene::{Scene, message},
};
use tonic::Code;

/// The answer for a message.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Stored(u64),
    /// It is a duplicate of this sequence, or of a forgotten one: 0.
    Duplicate(u64),
    Refused(Code, String),
}

fn answer_of(result: v1::PublishResult) -> Answer {
    match result.result.unwrap() {
        publish_result::Result::Stored(stored) => Answer::Stored(stored.sequence),
        publish_result::Result::Duplicate(duplicate) => Answer::Duplicate(duplicate.sequence),
        publish_result::Result::Error(status) => {
            let refusal = Refusal::from(&status);
            Answer::Refused(refusal.code, refusal.reason)
        }
    }
}

fn too_large() -> Answer {
    Answer::Refused(Code::InvalidArgument, "MESSAGE_TOO_LARGE".to_owned())
}

fn refused_before() -> Answer {
    Answer::Refused(Code::FailedPrecondition, "PRODUCER_MESSAGE_REFUSED".to_owned())
}

struct Producer {
    scene: Scene,
    queue: String,
}

impl Producer {
    async fn start() -> Self {
        let scene = Scene::start().await;
        let queue = scene.plain_queue("q").await;
        Self { scene, queue }
    }

    async fn limit_messages_to(&self, max_message_bytes: u32) {
        let queue = v1::Queue { name: self.queue.clone(), max_message_bytes, ..v1::Queue::default() };
        let request = v1::UpdateQueueRequest {
            queue: Some(queue),
            update_mask: Some(prost_types::FieldMask { paths: vec!["max_message_bytes".to_owned()] }),
            ..v1::UpdateQueueRequest::default()
        };
        let caller = &self.scene.caller;
        caller.queues().update_queue(caller.request(request)).await.unwrap();
    }

    async fn publish(
        &self,
        first_sequence: u64,
        atomic: bool,
        texts: &[&str],
    ) -> Result<Vec<Answer>, Refusal> {
        let session = ProducerSession { producer_id: vec![7; 16].into(), epoch: 1, first_sequence };
        let request = PublishRequest {
            queue: self.queue.clone(),
            messages: texts.iter().map(|text| message(text)).collect(),
            producer: Some(session),
            atomic,
        };
        let caller = &self.scene.caller;
        let answer = caller.publisher().publish(caller.request(request)).await;
        answer.map_err(|status| Refusal::from(&status)).map(|answer| {
            let results = answer.into_inner().results;
            results.into_iter().map(answer_of).collect()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn are_answered_as_the_first_attempt_was() {
    let producer = Producer::start().await;
    let texts = ["four", "much too large", "five5"];
    producer.limit_messages_to(10).await;
    let first = producer.publish(0, false, &texts).await.unwrap();
    assert_eq!(first, [Answer::Stored(1), too_large(), Answer::Stored(2)]);

    // Now all would be accepted; but the sequence of the second is used.
    producer.limit_messages_to(100).await;
    let again = producer.publish(0, false, &texts).await.unwrap();
    assert_eq!(again, [Answer::Duplicate(1), refused_before(), Answer::Duplicate(2)]);

    // And now all would be refused; but two are stored.
    producer.limit_messages_to(3).await;
    let again = producer.publish(0, false, &texts).await.unwrap();
    assert_eq!(again, [Answer::Duplicate(1), too_large(), Answer::Duplicate(2)]);

    // Published as a new batch.
    producer.limit_messages_to(100).await;
    assert_eq!(producer.publish(3, false, &["much too large"]).await.unwrap(), [Answer::Stored(3)]);
    assert_eq!(producer.scene.stats(&producer.queue).await.ready, 3);
    // None of this is the server's fault, which it would log.
    let log = producer.scene.server.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_long_ago_are_not_told_to_be_stored() {
    let producer = Producer::start().await;
    producer.limit_messages_to(10).await;
    let texts = ["four", "much too large"];
    assert_eq!(producer.publish(0, false, &texts).await.unwrap(), [Answer::Stored(1), too_large()]);
    for sequence in 2..10 {
        assert_eq!(producer.publish(sequence, false, &["x"]).await.unwrap(), [Answer::Stored(sequence)]);
    }
    // The sequence of the first is forgotten by now. Whatever the limit is, the server knows that it is stored and that
    // the second is not.
    for (limit, refused) in [(10, too_large()), (100, refused_before()), (3, too_large())] {
        producer.limit_messages_to(limit).await;
        assert_eq!(producer.publish(0, false, &texts).await.unwrap(), [Answer::Duplicate(0), refused]);
    }
    assert_eq!(producer.scene.stats(&producer.queue).await.ready, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_atomic_batch_are_answered_as_a_whole() {
    let producer = Producer::start().await;
    producer.limit_messages_to(10).await;
    let stored = producer.publish(0, true, &["four", "five5"]).await.unwrap();
    assert_eq!(stored, [Answer::Stored(1), Answer::Stored(2)]);
    producer.limit_messages_to(4).await;
    let again = producer.publish(0, true, &["four", "five5"]).await.unwrap();
    assert_eq!(again, [Answer::Duplicate(1), Answer::Duplicate(2)]);

    let refusal = producer.publish(2, true, &["four", "five5"]).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "MESSAGE_TOO_LARGE"));
    assert_eq!(refusal.fields(), ["messages[1]"]);
    // It used no sequence.
    assert_eq!(producer.publish(2, true, &["four"]).await.unwrap(), [Answer::Stored(3)]);
    // After eight more batches their sequences are forgotten, but not that they are stored.
    for sequence in 3..11 {
        let stored = producer.publish(sequence, false, &["x"]).await.unwrap();
        assert_eq!(stored, [Answer::Stored(sequence + 1)]);
    }
    let again = producer.publish(0, true, &["four", "five5"]).await.unwrap();
    assert_eq!(again, [Answer::Duplicate(0), Answer::Duplicate(0)]);
    assert_eq!(producer.scene.stats(&producer.queue).await.ready, 11);
}

/// The answers of a stream to a batch.
async fn streamed(
    stream: &mut PublishStream,
    first_sequence: u64,
    atomic: bool,
    texts: &[&str],
) -> Vec<Answer> {
    let messages = texts.iter().map(|text| message(text)).collect();
    let batch = Batch { first_sequence, atomic, ..publishing::batch(first_sequence, messages) };
    match stream.publish(batch).await.outcome.unwrap() {
        Outcome::Results(results) => match results.all_stored {
            Some(all) => (all.first_sequence..).take(all.count as usize).map(Answer::Stored).collect(),
            None => results.results.into_iter().map(answer_of).collect(),
        },
        Outcome::Error(status) => {
            let refusal = Refusal::from(&status);
            vec![Answer::Refused(refusal.code, refusal.reason)]
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_stream_are_answered_alike() {
    let producer = Producer::start().await;
    producer.limit_messages_to(10).await;
    let session = publish_stream_request::Producer { producer_id: vec![7; 16].into(), epoch: 1 };
    let open = || publishing::open(&producer.queue, Some(session.clone()));
    let mut stream = PublishStream::open(&producer.scene.caller, open()).await;
    let texts = ["four", "much too large", "five5"];
    let first = streamed(&mut stream, 0, false, &texts).await;
    assert_eq!(first, [Answer::Stored(1), too_large(), Answer::Stored(2)]);
    assert_eq!(
        streamed(&mut stream, 3, true, &["six", "seven"]).await,
        [Answer::Stored(3), Answer::Stored(4)]
    );

    // A stream has the limit of its opening; after a lost answer the batch is sent on another stream.
    for (limit, refused) in [(100, refused_before()), (3, too_large())] {
        producer.limit_messages_to(limit).await;
        let mut stream = PublishStream::open(&producer.scene.caller, open()).await;
        assert_eq!(stream.opened.next_sequence, 5);
        let again = streamed(&mut stream, 0, false, &texts).await;
        assert_eq!(again, [Answer::Duplicate(1), refused, Answer::Duplicate(2)]);
        let again = streamed(&mut stream, 3, true, &["six", "seven"]).await;
        assert_eq!(again, [Answer::Duplicate(3), Answer::Duplicate(4)]);
    }
    let mut stream = PublishStream::open(&producer.scene.caller, open()).await;
    assert_eq!(streamed(&mut stream, 5, true, &["six", "seven"]).await, [too_large()]);
    assert_eq!(streamed(&mut stream, 5, false, &["six"]).await, [Answer::Stored(5)]);
    assert_eq!(producer.scene.stats(&producer.queue).await.ready, 5);
}

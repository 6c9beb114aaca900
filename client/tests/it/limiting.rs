//! The limits of a publisher: buffer, deadlines, ids, and its end.

use std::time::Duration;

use bytes::Bytes;
use posthouse_client::{ErrorKind, NewMessage, PublishError, TryPublishError};
use tonic::Code;

use crate::{
    eventually,
    fake::{Fake, QUEUE, refusal_in_frame},
    within,
};

#[tokio::test]
async fn a_full_buffer_returns_the_message() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).max_buffered_messages(3).open().await.unwrap();
    fake.records().producers.mute = true;
    let mut acks = Vec::new();
    for _ in 0..3 {
        acks.push(publisher.try_publish("x").unwrap());
    }
    let Err(TryPublishError::Full(message)) = publisher.try_publish("the fourth") else { panic!("not full") };
    assert_eq!(&message.payload()[..], b"the fourth");
    assert_eq!(publisher.unanswered(), 3);
    eventually("they are stored", || fake.records().producers.stored.len() == 3).await;
    // The next stream answers what was withheld.
    fake.records().producers.mute = false;
    fake.wire.cut();
    for ack in acks {
        within("an ack", ack).await.unwrap();
    }
    eventually("there is room", || publisher.unanswered() == 0).await;
    publisher.try_publish(message).unwrap().await.unwrap();
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn the_error_after_a_deadline_says_whether_the_message_was_sent() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let builder = client.publisher(QUEUE).max_buffered_messages(2).max_in_flight_batches(1);
    let publisher = builder.linger(Duration::ZERO).open().await.unwrap();
    fake.records().producers.mute = true;
    // The first message is sent before this deadline, even on a busy machine.
    let soon = Duration::from_secs(2);
    let sent = publisher.publish(NewMessage::new("sent").timeout(soon)).await.unwrap();
    eventually("it is sent", || fake.records().producers.stored.len() == 1).await;
    let unsent = publisher.publish(NewMessage::new("unsent").timeout(soon)).await.unwrap();
    let unbuffered = publisher.publish(NewMessage::new("not buffered").timeout(soon)).await;
    assert!(matches!(unbuffered, Err(PublishError::Expired)), "{unbuffered:?}");
    let error = within("its deadline", sent).await.unwrap_err();
    assert!(matches!(error, PublishError::TimedOut), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    within("its deadline", unsent).await.unwrap_err();
    // It is not sent later either.
    fake.records().producers.mute = false;
    fake.wire.cut();
    let stored = within("the next", publisher.publish("next")).await.unwrap().await.unwrap();
    assert_eq!(stored.sequence, Some(2));
    assert_eq!(fake.records().producers.stored, ["sent", "next"]);
    assert!(matches!(publisher.flush().await, Err(PublishError::Expired)), "a flush tells of it");
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn a_builder_sets_the_deadline_of_all_messages() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let builder = client.publisher(QUEUE).message_timeout(Duration::from_millis(50));
    let publisher = builder.open().await.unwrap();
    fake.wire.set_down(true);
    fake.wire.cut();
    let error = within("its deadline", publisher.publish("x").await.unwrap()).await.unwrap_err();
    assert!(matches!(error, PublishError::TimedOut), "{error:?}");
    fake.wire.set_down(false);
    let patient = NewMessage::new("y").timeout(Duration::from_secs(60));
    within("its own deadline", publisher.publish(patient).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn closing_has_a_deadline() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    fake.records().producers.mute = true;
    let ack = publisher.publish("x").await.unwrap();
    let error = within("closing", publisher.close_within(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(error, PublishError::TimedOut), "{error:?}");
    assert!(matches!(within("the ack", ack).await, Err(PublishError::Closed)));

    fake.records().producers.mute = false;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    drop(publisher.publish("y").await.unwrap());
    publisher.close_within(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn many_published_messages_are_each_answered() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let builder = client.publisher(QUEUE).batch_messages(10).linger(Duration::from_secs(60));
    let publisher = builder.open().await.unwrap();
    let messages = (0..95).map(|n| if n == 7 { "bad".to_owned() } else { format!("message {n}") });
    let answers = within("the answers", publisher.publish_all(messages)).await;
    assert_eq!(answers.len(), 95);
    assert_eq!(answers[7].as_ref().unwrap_err().reason(), Some("ATTRIBUTES_INVALID"));
    let sequences: Vec<_> = answers.iter().flatten().map(|stored| stored.sequence.unwrap()).collect();
    assert_eq!(sequences, (1..95).collect::<Vec<_>>());
    let too_large = publisher.publish_all([Bytes::from(vec![0; 10_001]), Bytes::from_static(b"y")]).await;
    assert!(too_large[0].is_err() && too_large[1].is_ok());
}

#[tokio::test]
async fn every_message_id_is_returned_if_asked() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    for enable in [false, true] {
        let publisher = client.publisher(QUEUE).return_message_ids(enable).open().await.unwrap();
        let answers = publisher.publish_all(["a", "b", "c"]).await;
        let ids = answers.iter().flatten().filter(|stored| stored.message_id.is_some()).count();
        assert_eq!(ids, if enable { 3 } else { 1 });
        publisher.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_error_of_a_refused_batch_has_its_violations() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).open().await.unwrap();
    fake.records().producers.refuse.push_back(refusal_in_frame(Code::InvalidArgument, "BATCH_INVALID"));
    let error = publisher.publish("x").await.unwrap().await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.field_violations()[0].subject, "messages");
    assert_eq!(refusal.quota_violations()[0].description, "messages per batch");
    assert_eq!(refusal.retry_after(), Some(Duration::from_millis(1)));
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.is::<posthouse_client::Refusal>(), "{source}");
}

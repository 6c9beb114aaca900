use std::time::Duration;

use bytes::Bytes;
use posthouse_client::{ErrorKind, MessageError, NewMessage, PublishError, Publisher};
use tonic::Code;

use crate::{
    eventually,
    fake::{Fake, Order, QUEUE, refusal, refusal_in_frame},
    within,
};

async fn small_batches(fake: &Fake) -> Publisher {
    let client = fake.client().await;
    client.publisher(QUEUE).batch_messages(10).max_in_flight_batches(16).open().await.unwrap()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Bytes> {
    range.map(|n| Bytes::from(format!("message {n}"))).collect()
}

/// Publishes messages and waits for their answers.
async fn publish_all(publisher: &Publisher, messages: &[Bytes]) -> Vec<Result<Option<u64>, PublishError>> {
    let mut acks = Vec::new();
    for message in messages {
        acks.push(publisher.publish(message.clone()).await.unwrap());
    }
    let mut answers = Vec::new();
    for ack in acks {
        answers.push(within("an ack", ack).await.map(|stored| stored.sequence));
    }
    answers
}

#[tokio::test]
async fn stores_in_order_and_returns_sequences() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    assert_eq!(publisher.max_message_bytes(), 10_000);
    let first = publisher.publish("x").await.unwrap().await.unwrap();
    assert_eq!((first.message_id.as_deref(), first.sequence), (Some("m-1"), Some(1)));
    let messages = numbered(0..995);
    let answers = publish_all(&publisher, &messages).await;
    let sequences: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    assert_eq!(sequences, (2..997).collect::<Vec<_>>());
    assert_eq!(fake.records().producers.stored[1..], messages);
    let again = publisher.clone();
    publisher.close().await.unwrap();
    assert!(matches!(again.publish("late").await, Err(PublishError::Closed)));
    assert!(matches!(again.flush().await, Err(PublishError::Closed)));
}

#[tokio::test]
async fn stores_once_over_broken_connections() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    let messages = numbered(0..20_000);
    let wire = fake.wire.clone();
    let state = fake.state.clone();
    let saboteur = tokio::spawn(async move {
        for cut in 1..=20 {
            eventually("messages are stored", || state.records().producers.stored.len() >= cut * 900).await;
            // Half of the cuts come after answers were withheld, so that messages are stored without an answer.
            let seen = {
                let producers = &mut state.records().producers;
                producers.mute = cut % 2 == 0;
                producers.batches
            };
            eventually("batches go unanswered", || state.records().producers.batches > seen + 2).await;
            state.records().producers.mute = false;
            wire.cut();
        }
    });
    let answers = publish_all(&publisher, &messages).await;
    assert!(answers.iter().all(Result::is_ok));
    publisher.close().await.unwrap();
    saboteur.abort();
    assert!(fake.records().producers.stored == messages, "stored once, in order");
    assert_eq!(fake.records().producers.epochs(), [1]);
    assert!(fake.wire.accepted() > 10, "{}", fake.wire.accepted());
}

#[tokio::test]
async fn publish_many_answers_each_message() {
    let fake = Fake::start().await;
    let builder = fake.client().await.publisher(QUEUE).batch_messages(10).max_buffered_messages(50);
    let publisher = builder.open().await.unwrap();
    let messages = numbered(0..300);
    let mut with_too_large = messages.clone();
    with_too_large.insert(7, Bytes::from(vec![0; 10_001]));
    // More than fit the buffer at a time.
    let acks = within("buffer space", publisher.publish_many(with_too_large)).await;
    let mut answers = within("acks", acks).await;
    assert!(matches!(answers.remove(7), Err(PublishError::Message(_))), "too large");
    let sequences: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().sequence.unwrap()).collect();
    assert_eq!(sequences, (1..=300).collect::<Vec<_>>());
    assert!(fake.records().producers.stored == messages);
    assert!(publisher.publish_many(Vec::<Bytes>::new()).await.await.is_empty());
    let failed = publisher.flush().await;
    assert!(matches!(failed, Err(PublishError::Message(_))), "a flush tells it: {failed:?}");
    publisher.flush().await.unwrap();

    fake.records().producers.mute = true;
    let late = ["a", "b"].map(|text| NewMessage::new(text).timeout(Duration::from_millis(50)));
    let answers = within("a deadline", publisher.publish_many(late).await).await;
    assert!(matches!(answers[..], [Err(PublishError::TimedOut), Err(PublishError::TimedOut)]), "{answers:?}");
    fake.records().producers.mute = false;
    let again = publisher.clone();
    drop(publisher.close_within(Duration::from_millis(50)).await);
    let answers = again.publish_many(["late"]).await.await;
    assert!(matches!(answers[..], [Err(PublishError::Closed)]));
}

#[tokio::test]
async fn passing_refusals_are_retried_in_place() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    let reasons = ["DISK_FULL", "SERVER_OVERLOADED", "LIMIT_REACHED"];
    fake.records().producers.refuse =
        reasons.iter().map(|reason| refusal_in_frame(Code::ResourceExhausted, reason)).collect();
    let messages = numbered(0..300);
    let answers = publish_all(&publisher, &messages).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(fake.records().producers.stored, messages);
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn messages_gather_while_four_batches_are_unanswered() {
    let fake = Fake::start().await;
    fake.records().producers.mute = true;
    let builder = fake.client().await.publisher(QUEUE).batch_messages(10);
    let publisher = builder.linger(Duration::ZERO).open().await.unwrap();
    let messages = numbered(0..44);
    for (nth, message) in messages[..4].iter().enumerate() {
        drop(publisher.publish(message.clone()).await.unwrap());
        eventually("it is stored", || fake.records().producers.stored.len() == nth + 1).await;
    }
    for message in &messages[4..] {
        drop(publisher.publish(message.clone()).await.unwrap());
        // This leaves the publisher time for anything that it might do with one message.
        tokio::task::yield_now().await;
    }
    eventually("all are stored", || fake.records().producers.stored.len() == 44).await;
    assert_eq!(fake.records().producers.batches, 8, "full ones do not wait for an answer");
    assert_eq!(fake.records().producers.stored, messages);
}

#[tokio::test]
async fn a_batch_refused_for_good_does_not_hold_the_others_up() {
    let fake = Fake::start().await;
    let messages = numbered(0..300);
    fake.records().producers.poison = Some(messages[50].clone());
    let client = fake.client().await;
    // With a linger that never ends, batches have ten messages each.
    let linger = Duration::from_secs(60);
    let publisher = client.publisher(QUEUE).batch_messages(10).linger(linger).open().await.unwrap();
    let answers = publish_all(&publisher, &messages).await;
    let failed: Vec<_> = (0..300).filter(|n| answers[*n].is_err()).collect();
    assert_eq!(failed, (50..60).collect::<Vec<_>>());
    let error = answers[50].clone().unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidArgument, Some("BATCH_INVALID")));
    let error = publisher.flush().await.unwrap_err();
    assert_eq!(error.reason(), Some("BATCH_INVALID"), "a flush tells the failure once");
    publisher.flush().await.unwrap();
    let stored = [&messages[..50], &messages[60..]].concat();
    assert_eq!(fake.records().producers.stored, stored);
    assert_eq!(fake.records().producers.epochs(), [1], "numbers were closed up");
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn one_bad_message_leaves_its_batch_alone() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    let messages: Vec<Bytes> = vec!["a".into(), "bad".into(), "c".into()];
    let answers = publish_all(&publisher, &messages).await;
    assert_eq!(answers[0].as_ref().unwrap(), &Some(1));
    assert_eq!(answers[1].as_ref().unwrap_err().reason(), Some("ATTRIBUTES_INVALID"));
    assert_eq!(answers[2].as_ref().unwrap(), &Some(2));
    publisher.close().await.unwrap_err();
}

#[tokio::test]
async fn a_forgotten_session_goes_on_in_a_new_epoch() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    let messages = numbered(0..100);
    publish_all(&publisher, &messages[..40]).await;
    fake.records().producers.forget();
    publish_all(&publisher, &messages[40..70]).await;
    fake.records().producers.forget();
    fake.wire.cut();
    let answers = publish_all(&publisher, &messages[70..]).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(fake.records().producers.stored, messages);
    assert_eq!(fake.records().producers.epochs(), [3]);
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn a_refusal_that_will_not_pass_ends_the_publisher() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    fake.records().producers.refuse.push_back(refusal_in_frame(Code::PermissionDenied, "GRANT_MISSING"));
    let answers = publish_all(&publisher, &numbered(0..1)).await;
    let error = answers[0].clone().unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::PermissionDenied, Some("GRANT_MISSING")));
    let error = publisher.publish("more").await.unwrap_err();
    assert_eq!(error.reason(), Some("GRANT_MISSING"), "{error}");
    assert_eq!(publisher.close().await.unwrap_err().reason(), Some("GRANT_MISSING"));
}

#[tokio::test]
async fn an_expired_token_is_waited_for_and_then_given_up() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let limit = Duration::from_millis(500);
    let publisher = client.publisher(QUEUE).give_up_after(limit).open().await.unwrap();
    let expired = || Order::End(refusal(Code::Unauthenticated, "TOKEN_EXPIRED"));

    fake.records().token = "next-token".to_owned();
    fake.order(expired());
    let ack = publisher.publish("waits for the token").await.unwrap();
    fake.pki.write_token("next-token");
    within("the token is reread", ack).await.unwrap();

    fake.records().token = "never-written".to_owned();
    fake.order(expired());
    let ack = publisher.publish("waits in vain").await.unwrap();
    let error = within("giving up", ack).await.unwrap_err();
    assert!(matches!(error, PublishError::GaveUp { .. }), "{error:?}");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unauthenticated, Some("TOKEN_EXPIRED")));
    assert!(error.to_string().contains("token file"), "{error}");
}

#[tokio::test]
async fn memory_is_bounded_while_the_server_is_away() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).max_buffered_bytes(10_000).open().await.unwrap();
    fake.wire.set_down(true);
    fake.wire.cut();
    let mut acks = Vec::new();
    let message = || NewMessage::new(vec![7; 1000]);
    loop {
        let publish = publisher.publish(message());
        match tokio::time::timeout(Duration::from_millis(200), publish).await {
            Ok(ack) => acks.push(ack.unwrap()),
            Err(_) => break,
        }
    }
    assert!((9..=10).contains(&acks.len()), "{}", acks.len());
    fake.wire.set_down(false);
    within("room comes back", publisher.publish(message())).await.unwrap().await.unwrap();
    publisher.close().await.unwrap();
    // The refused message was not sent.
    assert_eq!(fake.records().producers.stored.len(), acks.len() + 1);
}

#[tokio::test]
async fn an_idle_publisher_outlives_an_outage() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let limit = Duration::from_millis(1);
    let publisher = client.publisher(QUEUE).give_up_after(limit).open().await.unwrap();
    publisher.publish("one").await.unwrap().await.unwrap();
    fake.wire.set_down(true);
    fake.wire.cut();
    // The publisher has nothing to send, so nothing fails; the server is back before there is.
    assert_eq!(fake.order(Order::End(refusal(Code::Unavailable, "STREAM_IDLE"))), 1);
    fake.wire.set_down(false);
    within("two", publisher.publish("two")).await.unwrap().await.unwrap();
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn what_the_server_would_refuse_is_refused_here() {
    let fake = Fake::start().await;
    let publisher = small_batches(&fake).await;
    let error = publisher.publish(vec![0; 10_001]).await.unwrap_err();
    assert!(matches!(error, PublishError::Message(MessageError::TooLarge { bytes: 10_001, limit: 10_000 })));
    let error = publisher.publish(NewMessage::new("x").attribute("", "v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    publisher.publish(vec![0; 10_000]).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn what_was_published_is_sent_after_the_last_handle_is_dropped() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let publisher = client.publisher(QUEUE).linger(Duration::from_secs(60)).open().await.unwrap();
    let messages = numbered(0..100);
    for message in &messages {
        drop(publisher.publish(message.clone()).await.unwrap());
    }
    drop(publisher);
    eventually("all is stored", || fake.records().producers.stored == messages).await;
}

//! Leases while the application works: extended, lost, and settled in numbers.

use std::time::Duration;

use posthouse_client::{ErrorKind, ErrorReason, Settlement};

use crate::{
    eventually,
    fake::{Fake, QUEUE},
    within,
};

#[tokio::test]
async fn a_lease_is_extended_while_the_delivery_is_held() {
    let fake = Fake::start().await;
    fake.records().leases.put("slow work");
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).lease_duration(Duration::from_secs(1)).open().await.unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    eventually("extended again and again", || fake.records().leases.extensions >= 3).await;
    assert!(held.is_live());
    held.ack().await.unwrap();
    let extensions = fake.records().leases.extensions;
    fake.records().leases.put("another");
    let other = consumer.next().await.unwrap().unwrap();
    eventually("the other one is", || fake.records().leases.extensions > extensions).await;
    other.ack().await.unwrap();
}

#[tokio::test]
async fn lease_lost_resolves_when_the_lease_is_lost() {
    let fake = Fake::start().await;
    fake.records().leases.put("leased by another meanwhile");
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).lease_duration(Duration::from_secs(1)).open().await.unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    assert!(held.is_live());
    fake.records().leases.leased.clear();
    within("it is told", held.lease_lost()).await;
    assert!(!held.is_live());
    let error = held.ack().await.unwrap_err();
    assert_eq!((error.kind(), error.error_reason()), (ErrorKind::LeaseLost, Some(ErrorReason::LeaseLost)));
}

#[tokio::test]
async fn lease_lost_resolves_when_the_message_is_purged() {
    let fake = Fake::start().await;
    fake.records().leases.put("purged meanwhile");
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).lease_duration(Duration::from_secs(1)).open().await.unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    fake.records().leases.purged = true;
    fake.records().leases.leased.clear();
    within("it is told", held.lease_lost()).await;
    let error = held.ack().await.unwrap_err();
    let purged = (ErrorKind::LeaseLost, Some(ErrorReason::MessagePurged));
    assert_eq!((error.kind(), error.error_reason()), purged);
    // A pool does not count it among the messages that may be delivered again.
    consumer.close().await.unwrap();
    fake.records().leases.put("another");
    let state = fake.state.clone();
    let handler = move |_| {
        state.records().leases.leased.clear();
        std::future::ready(Ok(()))
    };
    let pool = client.worker_pool(QUEUE).workers(1).start(handler).await.unwrap();
    eventually("it was handled", || pool.report().acked == 1).await;
    let report = within("the stop", pool.stop()).await.unwrap();
    assert_eq!((report.purged, report.unconfirmed), (1, 0));
}

#[tokio::test]
async fn a_lease_that_runs_out_while_the_server_is_away_is_lost() {
    let fake = Fake::start().await;
    fake.records().leases.put("one");
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).lease_duration(Duration::from_secs(1)).open().await.unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    fake.wire.set_down(true);
    fake.wire.cut();
    within("it is told without the server", held.lease_lost()).await;
    // The server had not leased it to another consumer, so the lease is valid after all.
    fake.wire.set_down(false);
    eventually("it is live again", || held.is_live()).await;
    held.ack().await.unwrap();
}

#[tokio::test]
async fn leases_are_not_extended_for_longer_than_asked() {
    let fake = Fake::start().await;
    fake.records().leases.put("one");
    let client = fake.client().await;
    let builder = client.consumer(QUEUE).lease_duration(Duration::from_secs(1));
    let consumer = builder.extend_leases_for(Duration::ZERO).open().await.unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    within("it runs out", held.lease_lost()).await;
    assert!(fake.records().leases.extensions <= 1, "only while it waited");
    drop(held);
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn settle_all_settles_each_delivery() {
    let fake = Fake::start().await;
    let consumer = fake.client().await.consumer(QUEUE).open().await.unwrap();
    for n in 0..100 {
        fake.records().leases.put(format!("message {n}"));
    }
    let mut held = Vec::new();
    while held.len() < 100 {
        held.push(consumer.next().await.unwrap().unwrap());
    }
    // One of the leases has ended.
    fake.records().leases.leased.pop_first();
    let settled = consumer.settle_all(held.into_iter().map(|delivery| (delivery, Settlement::Ack))).await;
    assert_eq!(settled.len(), 100);
    assert_eq!(settled[0].as_ref().unwrap_err().kind(), ErrorKind::LeaseLost);
    assert!(settled[1..].iter().all(Result::is_ok));
    assert_eq!(fake.records().leases.acked.len(), 99);
    assert!(fake.records().leases.settle_frames < 10);
}

#[tokio::test]
async fn a_stopped_consumer_releases_waiting_deliveries_and_keeps_held_ones() {
    let fake = Fake::start().await;
    for n in 0..20 {
        fake.records().leases.put(format!("message {n}"));
    }
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).credit_messages(10).open().await.unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    consumer.stop();
    eventually("the others are given back", || {
        let leases = &fake.records().leases;
        leases.leased.len() == 1 && leases.ready.len() == 19
    })
    .await;
    assert!(consumer.next().await.unwrap().is_none());
    // The consumer accepts no more deliveries even on a new stream.
    fake.wire.cut();
    held.ack().await.unwrap();
    consumer.close().await.unwrap();
    let leases = &fake.records().leases;
    assert_eq!((leases.acked.len(), leases.ready.len()), (1, 19));
}

use std::{collections::HashMap, time::Duration};

use posthouse_client::Consumer;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tonic::Code;

use crate::{
    eventually,
    fake::{Fake, Order, QUEUE, refusal},
    within,
};

async fn consumer(fake: &Fake, credit: u32) -> Consumer {
    fake.client().await.consumer(QUEUE).credit_messages(credit).open().await.unwrap()
}

fn put(fake: &Fake, count: usize) {
    for n in 0..count {
        fake.records().leases.put(format!("message {n}"));
    }
}

async fn streams(fake: &Fake, number: u64) {
    eventually("the session has its next stream", || {
        fake.records().leases.sessions.values().any(|streams| *streams >= number)
    })
    .await;
}

#[tokio::test]
async fn held_deliveries_survive_a_broken_connection() {
    let fake = Fake::start().await;
    put(&fake, 5);
    let consumer = consumer(&fake, 5).await;
    let first = consumer.next().await.unwrap().unwrap();
    let second = consumer.next().await.unwrap().unwrap();
    fake.wire.cut();
    streams(&fake, 2).await;
    first.ack().await.unwrap();
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.push(within("what waited", consumer.next()).await.unwrap().unwrap());
    }
    assert_eq!(rest.iter().map(|it| it.sequence()).collect::<Vec<_>>(), [3, 4, 5], "none comes twice");
    second.ack().await.unwrap();
    for delivery in rest {
        delivery.ack().await.unwrap();
    }
    let mut acked = fake.records().leases.acked.clone();
    acked.sort_unstable();
    assert_eq!(acked, [1, 2, 3, 4, 5]);
    eventually("all credits are back", || fake.records().leases.credit.messages == 5).await;
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn unconfirmed_settlements_are_sent_again() {
    let fake = Fake::start().await;
    put(&fake, 10);
    let consumer = consumer(&fake, 10).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(consumer.next().await.unwrap().unwrap());
    }
    fake.records().leases.mute = true;
    let settling: Vec<_> = held.drain(..5).map(posthouse_client::Delivery::ack).collect();
    eventually("settled, and not told", || fake.records().leases.acked.len() == 5).await;
    fake.wire.set_down(true);
    fake.wire.cut();
    // These are settled while there is no connection.
    let offline: Vec<_> = held.drain(..).map(posthouse_client::Delivery::ack).collect();
    fake.records().leases.mute = false;
    fake.wire.set_down(false);
    for settled in settling.into_iter().chain(offline) {
        within("a settlement", settled).await.unwrap();
    }
    assert_eq!(fake.records().leases.acked.len(), 10);
    eventually("all credits are back", || fake.records().leases.credit.messages == 10).await;
}

#[tokio::test]
async fn deliveries_with_an_ended_lease_are_not_returned() {
    let fake = Fake::start().await;
    put(&fake, 4);
    let consumer = consumer(&fake, 4).await;
    let held = consumer.next().await.unwrap().unwrap();
    eventually("all are leased", || fake.records().leases.leased.len() == 4).await;
    fake.wire.set_down(true);
    fake.wire.cut();
    fake.records().leases.end_leases(None, 1);
    fake.wire.set_down(false);
    // This answer comes from the next stream, after it has resumed leases.
    assert_eq!(held.ack().await.unwrap_err().reason(), Some("LEASE_LOST"));
    // All four are delivered again, with one failed attempt; those that waited in the client are removed.
    let mut sequences = Vec::new();
    for _ in 0..4 {
        let delivery = within("a delivery", consumer.next()).await.unwrap().unwrap();
        assert_eq!(delivery.attempt(), 2, "of {}", delivery.sequence());
        sequences.push(delivery.sequence());
        delivery.ack().await.unwrap();
    }
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4]);
    eventually("all credits are back", || fake.records().leases.credit.messages == 4).await;
}

#[tokio::test]
async fn every_message_is_acked_once_over_many_breaks() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let fake = Fake::start().await;
    put(&fake, 5000);
    let consumer = consumer(&fake, 50).await;
    let (mut seen, mut held) = (HashMap::<u64, u32>::new(), Vec::new());
    while fake.records().leases.acked.len() < 5000 {
        if random.random_bool(0.004) {
            fake.wire.cut();
        }
        if held.len() > 30 || (random.random_bool(0.5) && !held.is_empty()) {
            let index = random.random_range(0..held.len());
            let delivery: posthouse_client::Delivery = held.swap_remove(index);
            drop(delivery.ack());
        } else if let Ok(delivery) = tokio::time::timeout(Duration::from_millis(5), consumer.next()).await {
            let delivery = delivery.unwrap().unwrap();
            *seen.entry(delivery.sequence()).or_default() += 1;
            held.push(delivery);
        }
    }
    assert_eq!(seen.len(), 5000);
    assert!(seen.values().all(|times| *times == 1), "none came twice");
    let streams = *fake.records().leases.sessions.values().next().unwrap();
    assert!(streams > 1, "the connection broke");
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn closing_while_the_server_is_away_ends() {
    let fake = Fake::start().await;
    put(&fake, 1);
    let consumer = consumer(&fake, 5).await;
    fake.wire.set_down(true);
    fake.wire.cut();
    // The consumer has nothing to do once its one delivery is acked and confirmed, and here it cannot be.
    fake.wire.set_down(false);
    let delivery = consumer.next().await.unwrap().unwrap();
    delivery.ack().await.unwrap();
    fake.wire.set_down(true);
    fake.wire.cut();
    within("closing", consumer.close()).await.unwrap();
}

#[tokio::test]
async fn a_consumer_gives_up_and_says_why() {
    let fake = Fake::start().await;
    let client = fake.client().await;
    let consumer = client.consumer(QUEUE).give_up_after(Duration::from_millis(300)).open().await.unwrap();
    fake.wire.set_down(true);
    fake.wire.cut();
    let error = within("giving up", consumer.next()).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("of trying"), "{error}");
}

#[tokio::test]
async fn another_holder_of_the_session_ends_this_one() {
    let fake = Fake::start().await;
    let consumer = consumer(&fake, 5).await;
    fake.order(Order::End(refusal(Code::Aborted, "SESSION_TAKEN_OVER")));
    let error = within("the end", consumer.next()).await.unwrap_err();
    assert_eq!(error.reason(), Some("SESSION_TAKEN_OVER"));
}

use std::{collections::HashSet, sync::Arc, time::Duration};

use posthouse_client::{Consumer, ErrorKind, Event, SettleError, Settlement};
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

#[tokio::test]
async fn each_settlement_does_what_it_says() {
    let fake = Fake::start().await;
    put(&fake, 4);
    let consumer = consumer(&fake, 10).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        deliveries.push(consumer.next().await.unwrap().unwrap());
    }
    assert_eq!(&deliveries[0].payload()[..], b"message 0");
    assert_eq!((deliveries[0].sequence(), deliveries[0].message_id()), (1, "m-1"));
    assert_eq!(deliveries[3].attempt(), 1);
    deliveries.pop().unwrap().dead_letter().await.unwrap();
    deliveries.pop().unwrap().release().await.unwrap();
    deliveries.pop().unwrap().nack(Duration::ZERO).await.unwrap();
    deliveries.pop().unwrap().ack().await.unwrap();
    assert_eq!(fake.records().leases.acked, [1]);
    let nacked = consumer.next().await.unwrap().unwrap();
    let released = consumer.next().await.unwrap().unwrap();
    let mut attempts = [(nacked.sequence(), nacked.attempt()), (released.sequence(), released.attempt())];
    attempts.sort_unstable();
    assert_eq!(attempts, [(2, 2), (3, 1)]);
    nacked.ack().await.unwrap();
    released.ack().await.unwrap();
    let Some(Event::Idle { waiting: 0, parked: 0 }) = consumer.next_event().await.unwrap() else {
        panic!("not idle")
    };
    consumer.close().await.unwrap();
    assert!(consumer.next().await.unwrap().is_none());
}

#[tokio::test]
async fn credits_bound_unsettled_deliveries_and_return() {
    let fake = Fake::start().await;
    put(&fake, 2000);
    let consumer = consumer(&fake, 7).await;
    let mut seen = Vec::new();
    while seen.len() < 2000 {
        let delivery = within("a delivery", consumer.next()).await.unwrap().unwrap();
        assert!(
            fake.records().leases.leased.len() <= 7 + 28,
            "no more than credits and settlements under way"
        );
        seen.push(delivery.sequence());
        drop(delivery.ack());
    }
    assert_eq!(seen, (1..=2000).collect::<Vec<_>>());
    eventually("all is acked", || fake.records().leases.acked.len() == 2000).await;
    eventually("all credits are back", || fake.records().leases.credit.messages == 7).await;
    eventually("all bytes are back", || fake.records().leases.credit.bytes == 16 << 20).await;
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn settlements_share_frames() {
    let fake = Fake::start().await;
    put(&fake, 1000);
    let consumer = consumer(&fake, 1000).await;
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(consumer.next().await.unwrap().unwrap());
    }
    let settling: Vec<_> = held.into_iter().map(posthouse_client::Delivery::ack).collect();
    for settled in settling {
        settled.await.unwrap();
    }
    let frames = fake.records().leases.settle_frames;
    assert!(frames < 100, "{frames} frames for 1,000 settlements");
}

#[tokio::test]
async fn few_settlements_wait_while_two_frames_have_no_answer() {
    let fake = Fake::start().await;
    put(&fake, 130);
    let consumer = consumer(&fake, 130).await;
    fake.records().leases.mute = true;
    let mut acked = 0;
    for _ in 0..130 {
        drop(consumer.next().await.unwrap().unwrap().ack());
        acked += 1;
        if acked <= 2 {
            eventually("it is settled", || fake.records().leases.acked.len() == acked).await;
        }
        // This leaves the consumer time for anything that it might do with one settlement.
        tokio::task::yield_now().await;
    }
    eventually("all are settled", || fake.records().leases.acked.len() == 130).await;
    assert_eq!(fake.records().leases.settle_frames, 3, "many do not wait for an answer");
}

#[tokio::test]
async fn next_many_and_settle_all_handle_many_deliveries() {
    let fake = Fake::start().await;
    put(&fake, 20);
    let (one, other) = (consumer(&fake, 10).await, consumer(&fake, 10).await);
    let mut held = Vec::new();
    while held.len() < 20 {
        for consumer in [&one, &other] {
            if let Ok(deliveries) =
                tokio::time::timeout(Duration::from_millis(20), consumer.next_many(3)).await
            {
                let deliveries = deliveries.unwrap();
                assert!((1..=3).contains(&deliveries.len()), "{}", deliveries.len());
                held.extend(deliveries);
            }
        }
    }
    // Deliveries of the other consumer are settled through their own.
    let settling = one.settle_all(held.into_iter().map(|delivery| (delivery, Settlement::Ack)));
    let settled = settling.await;
    assert!(settled.len() == 20 && settled.iter().all(Result::is_ok), "{settled:?}");
    let acked: HashSet<u64> = fake.records().leases.acked.iter().copied().collect();
    assert_eq!(acked, (1..=20).collect());
    assert!(one.settle_all([]).await.is_empty());

    // The first consumer could release it to the second.
    other.close().await.unwrap();
    put(&fake, 1);
    let last = within("the last", one.next_many(0)).await.unwrap();
    assert_eq!(last.len(), 1, "at least one is waited for");
    one.close().await.unwrap();
    assert!(one.next_many(5).await.unwrap().is_empty());
    let late = one.settle_all(last.into_iter().map(|delivery| (delivery, Settlement::Ack)));
    assert!(matches!(late.await[..], [Err(SettleError::Closed)]));
}

#[tokio::test]
async fn a_dropped_guard_is_released() {
    let fake = Fake::start().await;
    put(&fake, 1);
    let consumer = consumer(&fake, 1).await;
    drop(consumer.next().await.unwrap().unwrap());
    let again = within("it comes again", consumer.next()).await.unwrap().unwrap();
    assert_eq!(again.attempt(), 1, "a release does not count");
    again.ack().await.unwrap();
}

#[tokio::test]
async fn closing_confirms_what_was_settled_and_releases_the_rest() {
    let fake = Fake::start().await;
    put(&fake, 100);
    let consumer = consumer(&fake, 50).await;
    let first = consumer.next().await.unwrap().unwrap();
    let held = consumer.next().await.unwrap().unwrap();
    let settling = first.ack();
    consumer.close().await.unwrap();
    settling.await.unwrap();
    assert_eq!(fake.records().leases.ready.len(), 99);
    assert!(fake.records().leases.leased.is_empty());
    assert_eq!(held.ack().await.unwrap_err().kind(), ErrorKind::Closed);

    // Dropping a consumer closes it.
    let second = self::consumer(&fake, 50).await;
    drop(second.next().await.unwrap());
    eventually("50 are leased", || fake.records().leases.leased.len() == 50).await;
    drop(second);
    eventually("all are released", || fake.records().leases.ready.len() == 99).await;
}

#[tokio::test]
async fn many_tasks_share_one_consumer() {
    let fake = Fake::start().await;
    put(&fake, 1000);
    let consumer = Arc::new(consumer(&fake, 100).await);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let consumer = Arc::clone(&consumer);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Some(delivery) = consumer.next().await.unwrap() {
                    seen.push(delivery.sequence());
                    delivery.ack().await.unwrap();
                }
                seen
            })
        })
        .collect();
    eventually("all is acked", || fake.records().leases.acked.len() == 1000).await;
    consumer.close().await.unwrap();
    let mut seen = HashSet::new();
    for task in tasks {
        for sequence in within("a task ends", task).await.unwrap() {
            assert!(seen.insert(sequence), "{sequence} twice");
        }
    }
    assert_eq!(seen.len(), 1000);
}

#[tokio::test]
async fn a_lease_of_which_little_is_left_is_extended_at_once() {
    let fake = Fake::start().await;
    fake.records().leases.seconds_left = Some(60);
    put(&fake, 2);
    let client = fake.client().await;
    // A lease of ten minutes is extended after a third; of these most has passed when they are delivered.
    let consumer = client.consumer(QUEUE).lease_duration(Duration::from_secs(600)).open().await.unwrap();
    let deliveries = consumer.next().await.unwrap().unwrap();
    let left = deliveries.lease_time_left();
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(50), "{left:?}");
    eventually("extended, the one that was deliveries and the one that waits", || {
        fake.records().leases.extensions >= 2
    })
    .await;
    deliveries.ack().await.unwrap();
}

#[tokio::test]
async fn leases_are_extended_on_request_and_while_they_wait() {
    let fake = Fake::start().await;
    put(&fake, 3);
    let client = fake.client().await;
    let lease = Duration::from_secs(1);
    let consumer = client.consumer(QUEUE).lease_duration(lease).open().await.unwrap();
    let mut deliveries = consumer.next().await.unwrap().unwrap();
    let deadline = deliveries.extend(Duration::from_secs(60)).await.unwrap();
    assert_eq!(deadline, deliveries.lease_deadline());
    // Two deliveries wait in the client, which extends their leases; the lease of the third is up to the application.
    eventually("extended", || fake.records().leases.extensions > 2 * 2).await;
    deliveries.ack().await.unwrap();

    // A delivery that waits in the client and loses its lease is removed.
    let message = {
        let leases = &mut fake.records().leases;
        let (token, lease) = leases.leased.pop_first().unwrap();
        assert_eq!((lease.sequence, token.len()), (2, 20));
        lease.payload
    };
    assert_eq!(&message[..], b"message 1");
    let before = fake.records().leases.extensions;
    eventually("extended again", || fake.records().leases.extensions >= before + 3).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().sequence(), 3);
}

#[tokio::test]
async fn a_lost_lease_fails_its_extension_and_settlement() {
    let fake = Fake::start().await;
    put(&fake, 1);
    let consumer = consumer(&fake, 10).await;
    let mut held = consumer.next().await.unwrap().unwrap();
    fake.records().leases.leased.clear();
    let error = held.extend(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let error = held.ack().await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::LeaseLost, Some("LEASE_LOST")));
    assert!(error.to_string().contains("extend leases in time"), "{error}");
}

#[tokio::test]
async fn a_permanent_failure_ends_the_consumer_with_its_reason() {
    let fake = Fake::start().await;
    put(&fake, 1);
    let consumer = consumer(&fake, 10).await;
    let held = consumer.next().await.unwrap().unwrap();
    fake.records().leases.mute = true;
    let settling = held.ack();
    eventually("the ack arrives", || fake.records().leases.acked.len() == 1).await;
    fake.order(Order::End(refusal(Code::NotFound, "QUEUE_DELETED")));
    let error = within("the end", consumer.next()).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("QUEUE_DELETED")));
    assert_eq!(consumer.next().await.unwrap_err().reason(), Some("QUEUE_DELETED"));
    assert_eq!(settling.await.unwrap_err().reason(), Some("QUEUE_DELETED"));
}

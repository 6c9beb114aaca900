//! A consumer: settles its deliveries in every possible way, sometimes too late, and records it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use posthouse_client::{Consumer, Delivery, SettleError, Settling};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet};

use super::{LEASE, QUEUE, Shared};
use crate::{
    harness::eventually,
    history::{self, Action, ServerTime, Token, What},
    payload::decode,
};

pub(super) async fn run(shared: Arc<Shared>, number: u32, mut stop: watch::Receiver<bool>) {
    let mut random = StdRng::seed_from_u64(!shared.seed ^ u64::from(number));
    while !*stop.borrow() {
        let (number, consumer) = open(&shared, QUEUE).await;
        // Some consumers end early, and release what they hold.
        let deliveries = random.random_range(1_000..50_000);
        consume(&shared, number, &consumer, deliveries, &mut random, &mut stop).await;
        close(&shared, number, &consumer).await;
    }
}

/// Opens a consumer, under a number that no other has.
pub(super) async fn open(shared: &Shared, queue: &str) -> (u32, Consumer) {
    let client = shared.client().await;
    let opened = || async {
        // Leases must expire here, so the client does not extend them.
        let consumer = client.consumer(queue).credit_messages(64).lease_duration(LEASE);
        let consumer = consumer.extend_leases_for(Duration::ZERO);
        consumer.open().await.ok()
    };
    let consumer = eventually("a consumer", opened).await;
    (shared.consumers.fetch_add(1, Ordering::Relaxed), consumer)
}

/// Ends a consumer cleanly, which releases its leases.
pub(super) async fn close(shared: &Shared, number: u32, consumer: &Consumer) {
    shared.record(What::ConsumerClosed { consumer: number });
    // If the server is down, the leases expire, which serves the test as well.
    let _ = tokio::time::timeout(Duration::from_secs(10), consumer.close()).await;
}

async fn consume(
    shared: &Arc<Shared>,
    number: u32,
    consumer: &Consumer,
    deliveries: u32,
    random: &mut StdRng,
    stop: &mut watch::Receiver<bool>,
) {
    let mut settling = JoinSet::new();
    let closing = watch::Sender::new(false);
    for _ in 0..deliveries {
        let next = tokio::select! {
            next = consumer.next() => next,
            _ = stop.changed() => break,
        };
        // A consumer that failed for good is replaced; its leases expire.
        let Ok(Some(delivery)) = next else { break };
        let token = record_delivery(shared, number, &delivery);
        let dice = random.random_range(0..10_000);
        settling.spawn(settle(Arc::clone(shared), delivery, token, dice, closing.subscribe()));
        while settling.try_join_next().is_some() {}
    }
    closing.send_replace(true);
    while settling.join_next().await.is_some() {}
}

/// Records a delivery. The client crate keeps the server's token to itself and returns each lease once, so each
/// delivery has a token of the test's own.
pub(super) fn record_delivery(shared: &Shared, consumer: u32, delivery: &Delivery) -> Token {
    let token = Token(rand::random::<[u8; 16]>().to_vec());
    shared.record(What::Delivered(history::Delivery {
        consumer,
        token: token.clone(),
        message: delivery.message_id().to_owned(),
        sequence: delivery.sequence(),
        origin: delivery.dead_letter_origin().map(|origin| origin.message_id),
        payload: decode(delivery.payload()),
        attempt: delivery.attempt(),
        deadline: server_time(delivery.lease_deadline()),
        lease: i64::try_from(LEASE.as_nanos()).unwrap(),
        resumed: false,
    }));
    token
}

/// Settles a delivery in a random way.
async fn settle(
    shared: Arc<Shared>,
    delivery: Delivery,
    token: Token,
    dice: u64,
    mut closing: watch::Receiver<bool>,
) {
    let sent = |action| shared.record(What::SettleSent { token: token.clone(), action });
    let settling = match dice {
        0..100 => {
            sent(Action::Nack);
            delivery.nack(Duration::from_millis(dice))
        }
        100..200 => {
            sent(Action::Release);
            delivery.release()
        }
        200..250 => {
            sent(Action::DeadLetter);
            delivery.dead_letter()
        }
        250..260 => {
            // The delivery is held beyond its lease, so that another consumer receives it; this one's ack is too late
            // then.
            let _ = tokio::time::timeout(LEASE + LEASE / 2, closing.wait_for(|closing| *closing)).await;
            sent(Action::Ack);
            delivery.ack()
        }
        260..400 => return extend(shared, delivery, token).await,
        _ => {
            sent(Action::Ack);
            delivery.ack()
        }
    };
    record_answer(&shared, token, settling).await;
}

async fn extend(shared: Arc<Shared>, mut delivery: Delivery, token: Token) {
    // Whether the lease was lost meanwhile shows at the ack, too.
    if let Ok(deadline) = delivery.extend(LEASE * 2).await {
        shared.record(What::Extended { token: token.clone(), deadline: server_time(deadline) });
    }
    shared.record(What::SettleSent { token: token.clone(), action: Action::Ack });
    record_answer(&shared, token, delivery.ack()).await;
}

pub(super) async fn record_answer(shared: &Shared, token: Token, settling: Settling) {
    shared.record(match settling.await {
        Ok(()) => What::SettleConfirmed { token },
        Err(SettleError::Refused(refusal)) => {
            What::SettleRefused { token, reason: refusal.reason().unwrap_or_default().to_owned() }
        }
        Err(_) => What::SettleUnknown { token },
    });
}

fn server_time(time: SystemTime) -> ServerTime {
    ServerTime::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

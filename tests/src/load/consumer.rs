//! A consumer: settles what comes in every way there is, sometimes too late, and writes it down.

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
        // Some consumers go early, and give back what they hold.
        let deliveries = random.random_range(1_000..50_000);
        consume(&shared, number, &consumer, deliveries, &mut random, &mut stop).await;
        close(&shared, number, &consumer).await;
    }
}

/// Opens a consumer, under a number that no other has had.
pub(super) async fn open(shared: &Shared, queue: &str) -> (u32, Consumer) {
    let client = shared.client().await;
    let opened = || async {
        // Leases must run out here, so they are not kept alive.
        let consumer = client.consumer(queue).credit_messages(64).lease_duration(LEASE);
        let consumer = consumer.extend_leases_for(Duration::ZERO);
        consumer.open().await.ok()
    };
    let consumer = eventually("a consumer", opened).await;
    (shared.consumers.fetch_add(1, Ordering::Relaxed), consumer)
}

/// Ends a consumer cleanly, which releases whatever it holds.
pub(super) async fn close(shared: &Shared, number: u32, consumer: &Consumer) {
    shared.record(What::ConsumerClosed { consumer: number });
    // If the server is down the leases run to their end, which is as good.
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
        // A consumer that gave up is replaced; its leases run to their end.
        let Ok(Some(delivery)) = next else { break };
        let token = record_delivery(shared, number, &delivery);
        let dice = random.random_range(0..10_000);
        settling.spawn(settle(Arc::clone(shared), delivery, token, dice, closing.subscribe()));
        while settling.try_join_next().is_some() {}
    }
    closing.send_replace(true);
    while settling.join_next().await.is_some() {}
}

/// Writes a delivery down. The client crate keeps the server's token to itself, and hands each lease out once; so
/// every delivery gets a token of the test's own.
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

/// Does with a delivery what the dice say.
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
            // Held beyond its lease, so that another gets it; this one's ack is too late then.
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
    // Whether the lease was lost meanwhile is told by the ack, too.
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

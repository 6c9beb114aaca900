//! A producer: has many messages under way and records every outcome.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use posthouse_client::{NewMessage, PublishAck, PublishError, Publisher, Stored};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use super::{QUEUE, Shared};
use crate::{
    harness::eventually,
    history::What,
    payload::{PayloadId, encode},
};

/// The messages whose outcome a producer waits for.
const UNDER_WAY: usize = 64;
/// How far the consumers may be behind before the producers wait for them.
const BACKLOG: u64 = 5_000;

pub(super) async fn run(shared: Arc<Shared>, number: u32, stop: watch::Receiver<bool>) {
    let mut random = StdRng::seed_from_u64(shared.seed ^ u64::from(number));
    let mut count = 0;
    while !*stop.borrow() {
        let publisher = open(&shared).await;
        // A publisher that failed for good is replaced; the outcome of its messages under way is unknown.
        publish(&shared, &publisher, number, &mut count, &mut random, &stop).await;
        // All messages under way have been answered, so this has nothing to report.
        let _ = publisher.close().await;
    }
}

async fn open(shared: &Shared) -> Publisher {
    let client = shared.client().await;
    let opened = || async { client.publisher(QUEUE).batch_messages(32).open().await.ok() };
    eventually("a publisher", opened).await
}

async fn publish(
    shared: &Shared,
    publisher: &Publisher,
    number: u32,
    count: &mut u64,
    random: &mut StdRng,
    stop: &watch::Receiver<bool>,
) {
    let mut under_way = FuturesUnordered::new();
    let mut ended = false;
    while !ended && !*stop.borrow() {
        if shared.backlog() > BACKLOG && under_way.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let payload = PayloadId { producer: number, count: *count };
        *count += 1;
        let message = NewMessage::new(encode(payload, random.random_range(60..2000)));
        shared.record(What::PublishStarted { payload });
        match publisher.publish(message).await {
            Ok(ack) => under_way.push(answer(payload, ack)),
            Err(error) => {
                shared.record(outcome(payload, Err(error)));
                ended = true;
            }
        }
        let limit = if shared.backlog() > BACKLOG { 1 } else { UNDER_WAY };
        while under_way.len() >= limit
            && let Some(what) = under_way.next().await
        {
            ended |= !matches!(what, What::PublishAcked { .. });
            shared.record(what);
        }
    }
    while let Some(what) = under_way.next().await {
        shared.record(what);
    }
}

async fn answer(payload: PayloadId, ack: PublishAck) -> What {
    outcome(payload, ack.await)
}

fn outcome(payload: PayloadId, answer: Result<Stored, PublishError>) -> What {
    match answer {
        Ok(stored) => What::PublishAcked { payload, sequence: stored.sequence },
        Err(PublishError::Refused(_) | PublishError::Message(_)) => What::PublishRefused { payload },
        Err(_) => What::PublishUnknown { payload },
    }
}

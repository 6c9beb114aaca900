//! Floods of complete calls: some from a caller who may make them, some that are refused.

use std::time::Duration;

use bytes::Bytes;
use posthouse_client::Client;
use posthouse_proto::v1;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    Ended,
    bodies::slots,
    calls::{
        CONSUME, GET_QUEUE, HEALTH, Head, LIST_QUEUES, PUBLISH, QUEUE, RECEIVE, get_queue_body, open_consume,
        prefixed, publish, receive,
    },
    line::{Line, OPEN},
    target::Target,
};
use crate::harness::frames::message;

/// The calls of one connection that wait for their answers.
const WAITING: u64 = 150;
/// The calls of one write.
const WRITE: usize = 10;
/// The interval between purges of the published messages, which would fill the disk.
const PURGE: Duration = Duration::from_secs(1);

/// Repeats calls for ever, each as often as its count in every pass.
async fn flood(target: Target, calls: &[(Head, Bytes, usize)]) -> Result<(), Ended> {
    let line = Line::open(&target).await?;
    let mut begun = 0;
    for (head, body, count) in calls.iter().cycle() {
        for first in (0..*count).step_by(WRITE) {
            let count = WRITE.min(count - first);
            line.calls(head, body, count).await?;
            begun += count as u64;
            target.tally.add(count as u64);
            line.until_ended(begun.saturating_sub(WAITING)).await?;
        }
    }
    Ok(())
}

/// Asks for the attacker's own queue.
pub(super) async fn get_queue(target: Target) -> Result<(), Ended> {
    let head = Head::of(&target, GET_QUEUE);
    flood(target, &[(head, get_queue_body(), WRITE)]).await
}

/// Calls a method that does not exist.
pub(super) async fn unknown_method(target: Target) -> Result<(), Ended> {
    flood(target, &[(Head::new("/x/y", None), prefixed(&[]).into(), WRITE)]).await
}

/// Sends tokens with a wrong signature; with `health`, a call that needs no token between them.
pub(super) async fn forged(target: Target, rsa: bool, health: bool) -> Result<(), Ended> {
    let token = if rsa { &target.forged.ps256 } else { &target.forged.eddsa };
    let mut calls = vec![(Head::new(GET_QUEUE, Some(token)), get_queue_body(), 2 * WRITE)];
    if health {
        calls.push((Head::new(HEALTH, None), prefixed(&[]).into(), 1));
    }
    flood(target, &calls).await
}

/// Lists queues in pages of one, with a grant on only the last of many.
pub(super) async fn list_queues(target: Target) -> Result<(), Ended> {
    let request = v1::ListQueuesRequest { parent: Target::department(), page_size: 1, ..Default::default() };
    let body = message(&request);
    slots(target, OPEN, 4, move |line, target, _| {
        let body = body.clone();
        async move {
            let id = line.begin(&Head::new(LIST_QUEUES, Some(&target.narrow)), false).await?;
            line.body(id, &body, true).await?;
            line.end(id).await?;
            target.tally.add(1);
            Ok(())
        }
    })
    .await
}

/// Makes calls that wait for messages, of which there are none, and repeats them after their wait.
pub(super) async fn waiting(target: Target) -> Result<(), Ended> {
    let body = receive(10, Duration::from_secs(20), Duration::from_secs(10));
    slots(target, OPEN, 200, move |line, target, _| {
        let body = body.clone();
        async move {
            let id = line.begin(&Head::of(&target, RECEIVE), false).await?;
            line.body(id, &body, true).await?;
            target.tally.add(1);
            line.end(id).await.map(drop)
        }
    })
    .await
}

/// Publishes messages of the largest size, one after the other on each connection.
pub(super) async fn large_publishes(target: Target, callers: usize) {
    let publishing = super::again(target.clone(), callers, super::PAUSE, |target, _| async move {
        let line = Line::open(&target).await?;
        let body = publish(&[1 << 20, 1 << 20, 1 << 20, 900 << 10]);
        loop {
            let id = line.begin(&Head::of(&target, PUBLISH), false).await?;
            line.body(id, &body, true).await?;
            line.end(id).await?;
            target.tally.add(1);
        }
    });
    tokio::join!(publishing, purge(target));
}

/// Purges what an attack publishes.
pub(super) async fn purge(target: Target) {
    loop {
        if let Ok(client) = Client::connect(target.context.clone()).await {
            while client.queues().purge(&Target::queue(QUEUE)).await.is_ok() {
                tokio::time::sleep(PURGE).await;
            }
        }
        tokio::time::sleep(PURGE).await;
    }
}

/// Opens consumers beside many others, and closes them cleanly.
pub(super) async fn consumers(target: Target) -> Result<(), Ended> {
    let line = Line::open(&target).await?;
    let (head, mut begun) = (Head::of(&target, CONSUME), 0);
    loop {
        line.calls_with(&head, WRITE, || open_consume(rand::random(), 100)).await?;
        begun += WRITE as u64;
        target.tally.add(WRITE as u64);
        line.until_ended(u64::saturating_sub(begun, WAITING)).await?;
    }
}

/// Opens producer sessions that publish one message each and are not used again.
pub(super) async fn producers(target: Target) -> Result<(), Ended> {
    let line = Line::open(&target).await?;
    let (head, mut begun) = (Head::of(&target, PUBLISH), 0);
    let body = || {
        let producer = v1::ProducerSession {
            producer_id: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
            epoch: 1,
            first_sequence: 1,
        };
        message(&v1::PublishRequest {
            queue: Target::queue(QUEUE),
            messages: vec![v1::NewMessage::default()],
            producer: Some(producer),
            ..Default::default()
        })
    };
    loop {
        line.calls_with(&head, WRITE, body).await?;
        begun += WRITE as u64;
        target.tally.add(WRITE as u64);
        line.until_ended(u64::saturating_sub(begun, WAITING)).await?;
    }
}

/// A random generator for each connection of an attack, from the seed of the run.
pub(super) fn random(target: &Target, number: usize) -> StdRng {
    let opened = target.tally.counts().connections;
    StdRng::seed_from_u64(target.seed ^ (number as u64) << 48 ^ opened)
}

/// Random bytes.
pub(super) fn noise(random: &mut StdRng, max: usize) -> Vec<u8> {
    (0..random.random_range(0..=max)).map(|_| random.random()).collect()
}

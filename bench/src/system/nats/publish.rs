//! Producers of NATS JetStream, each on a new connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::{
    Client, Subject, Subscriber,
    jetstream::{Context as JetStream, context::ContextBuilder},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    super::{Confirmation, Producer},
    PATIENCE,
};

/// The client's limit of outstanding answers; the caller's window is smaller.
const IN_FLIGHT: usize = 1_000_000;
/// The server reports progress after this many messages: no batch is as long.
const REPORT_EVERY: u16 = u16::MAX;

/// Publishes each message alone, with an answer to each.
pub struct Single {
    context: JetStream,
    subject: Subject,
}

impl Single {
    /// Publishes to the stream of this queue.
    pub fn new(client: Client, queue: &str) -> Self {
        let context = ContextBuilder::new().timeout(PATIENCE).max_ack_inflight(IN_FLIGHT).build(client);
        Self { context, subject: queue.into() }
    }
}

#[async_trait]
impl Producer for Single {
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation> {
        let mut answers = Vec::with_capacity(batch.len());
        for message in batch {
            answers.push(self.context.publish(self.subject.clone(), message).await.context("publishing")?);
        }
        let all = async move {
            for answer in answers {
                answer.await.context("waiting for an answer")?;
            }
            Ok(())
        };
        Ok(all.boxed())
    }
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Bytes>>>>;

/// Publishes fast-ingest batches, each of which the server answers once. The reply subject of a message says what to do
/// with it.
pub struct Batched {
    single: Single,
    client: Client,
    inbox: String,
    // Prefix of batch ids, which are unique in the stream.
    prefix: String,
    batches: u64,
    waiting: Waiting,
    answers: JoinHandle<()>,
}

impl Batched {
    /// Publishes to the stream of this queue.
    pub async fn open(client: Client, queue: &str) -> Result<Self> {
        let inbox = client.new_inbox();
        let waiting = Waiting::default();
        let subscriber = client.subscribe(format!("{inbox}.>")).await.context("subscribing to answers")?;
        let answers = tokio::spawn(hand_out(subscriber, waiting.clone(), inbox.len() + 1));
        let prefix = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        let single = Single::new(client.clone(), queue);
        Ok(Self { single, client, inbox, prefix, batches: 0, waiting, answers })
    }
}

impl Drop for Batched {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

#[async_trait]
impl Producer for Batched {
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation> {
        // A single message is cheaper without a batch.
        if batch.len() < 2 {
            return self.single.publish(batch).await;
        }
        self.batches += 1;
        let id = format!("{}-{}", self.prefix, self.batches);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), sender);
        let count = batch.len();
        for (message, sequence) in batch.into_iter().zip(1..) {
            let step = Step::of(sequence, count) as u8;
            let reply = format!("{}.{id}.{REPORT_EVERY}.fail.{sequence}.{step}.$FI", self.inbox);
            let sent = self.client.publish_with_reply(self.single.subject.clone(), reply, message).await;
            sent.context("publishing")?;
        }
        Ok(confirmed(receiver, count).boxed())
    }
}

// What a message does to its batch, with the numbers of the protocol.
#[derive(Clone, Copy)]
enum Step {
    Start = 0,
    Append = 1,
    Commit = 2,
}

impl Step {
    fn of(sequence: usize, count: usize) -> Self {
        match sequence {
            _ if sequence == count => Self::Commit,
            1 => Self::Start,
            _ => Self::Append,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    // Number of stored messages; only with success.
    count: Option<usize>,
    // Only in a report of progress.
    r#type: Option<String>,
}

// Passes each answer to its batch, whose id is in the subject of the answer.
async fn hand_out(mut subscriber: Subscriber, waiting: Waiting, inbox: usize) {
    while let Some(message) = subscriber.next().await {
        let Some(id) = message.subject.get(inbox..).and_then(|rest| rest.split('.').next()) else { continue };
        // "ack" reports progress; "gap" and "err" are errors before the end of a batch.
        let answer = serde_json::from_slice::<Answer>(&message.payload);
        if answer.is_ok_and(|answer| answer.r#type.as_deref() == Some("ack")) {
            continue;
        }
        let sender = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(sender) = sender {
            let _ = sender.send(message.payload);
        }
    }
}

async fn confirmed(receiver: oneshot::Receiver<Bytes>, count: usize) -> Result<()> {
    let answered = tokio::time::timeout(PATIENCE, receiver).await.context("no answer to a batch")?;
    let answer = answered.context("the connection ended before an answer")?;
    let said = || String::from_utf8_lossy(&answer);
    let Ok(Answer { count: stored, r#type: None }) = serde_json::from_slice(&answer) else {
        bail!("NATS said of a batch: {}", said());
    };
    ensure!(stored == Some(count), "NATS said of a batch of {count}: {}", said());
    Ok(())
}

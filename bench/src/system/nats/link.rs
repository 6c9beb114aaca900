//! Consumers of NATS JetStream: a stream of pulled messages on a new connection.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, Result, bail};
use async_nats::{
    Client, Subject,
    jetstream::{
        Message,
        consumer::{PullConsumer, pull},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};

use super::{
    super::{Confirmation, Consumer, Shape, begin::begun},
    PATIENCE, WORKERS, jetstream,
};

/// What the confirmation of [`Subscriber::settle`] means.
// The server handles the acks of a connection in order: one answer confirms all before it. An answer to each ack is
// four times slower; no answer at all is not faster.
pub const SETTLE_PROMISE: &str = "taken in by the server, which answers the last of several acks (a double ack); its \
     file of the consumer's state follows later";

/// Requests messages ahead, as many as the window.
pub struct Subscriber {
    client: Client,
    messages: pull::Stream,
    unsettled: VecDeque<Subject>,
}

impl Subscriber {
    /// Starts to request messages.
    pub async fn open(client: &Client, queue: &str, shape: Shape) -> Result<Self> {
        let context = jetstream(client.clone());
        let consumer: PullConsumer = context.get_consumer_from_stream(WORKERS, queue).await?;
        let asked = consumer.stream().max_messages_per_batch(shape.window.max(1)).expires(PATIENCE);
        // A busy machine may be late with heartbeats, which must not end the stream.
        let messages = asked.heartbeat(Duration::ZERO).messages().await?;
        Ok(Self { client: client.clone(), messages, unsettled: VecDeque::new() })
    }

    fn accept(&mut self, message: Message) -> Result<Bytes> {
        let message = message.message;
        self.unsettled.push_back(message.reply.context("a message that cannot be acknowledged")?);
        Ok(message.payload)
    }
}

#[async_trait]
impl Consumer for Subscriber {
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>> {
        let Some(first) = self.messages.next().await else { bail!("NATS ended the messages") };
        let mut payloads = vec![self.accept(first.context("a message")?)?];
        while payloads.len() < max {
            match self.messages.next().now_or_never() {
                Some(Some(message)) => payloads.push(self.accept(message.context("a message")?)?),
                // The next call returns the end of the messages.
                Some(None) | None => break,
            }
        }
        Ok(payloads)
    }

    async fn settle(&mut self, count: usize) -> Result<Confirmation> {
        if count == 0 || count > self.unsettled.len() {
            bail!("{count} to settle of {}", self.unsettled.len());
        }
        for ack in self.unsettled.drain(..count - 1) {
            self.client.publish(ack, Bytes::new()).await.context("settling")?;
        }
        let Some(newest) = self.unsettled.pop_front() else { bail!("nothing to settle") };
        let client = self.client.clone();
        let ack = async move { client.request(newest, Bytes::new()).await.map(drop).context("settling") };
        // Polled once now, so that it is sent after the other acks.
        begun(ack.boxed()).await
    }
}

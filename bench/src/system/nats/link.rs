//! Consumers of NATS JetStream: a stream of pulled messages on a connection of its own.

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

/// What [`Subscriber::settle`] waits for.
// The server takes the acks of a connection in order: one answer speaks for all before it. An answer to each is four times
// slower, none at all is no faster.
pub const SETTLE_PROMISE: &str = "taken in by the server, which answers the last of several acks (a double ack); its file \
     of the consumer's state follows later";

/// Takes messages that it asked for ahead, as many as the window.
pub struct Subscriber {
    client: Client,
    messages: pull::Stream,
    unsettled: VecDeque<Subject>,
}

impl Subscriber {
    /// Starts to ask for messages.
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
                // The end of the messages shows at the next call.
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
        // Begun at once, so that it is sent behind the others.
        begun(ack.boxed()).await
    }
}

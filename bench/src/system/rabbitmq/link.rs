//! Producers and consumers of RabbitMQ, each on a connection with one channel.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::maybe_done};
use lapin::{
    BasicProperties, Channel, Connection,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    },
    types::{FieldTable, ShortString},
};

use super::super::{
    Confirmation, Consumer, Producer, Shape,
    begin::{begin, begun},
};

const PERSISTENT: u8 = 2;

/// Publishes with confirms.
pub struct Publisher {
    channel: Channel,
    queue: ShortString,
    // Keeps the channel open.
    _connection: Connection,
}

impl Publisher {
    /// Opens a channel with publisher confirms.
    pub async fn open(connection: Connection, queue: &str) -> Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, queue: queue.into(), _connection: connection })
    }
}

#[async_trait]
impl Producer for Publisher {
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation> {
        begun(publish_all(self.channel.clone(), self.queue.clone(), batch).boxed()).await
    }
}

// A publish of the client resolves when it is written to the socket. Awaiting each would send them one by one: so all
// are polled first, in order, before the first wait.
async fn publish_all(channel: Channel, queue: ShortString, batch: Vec<Bytes>) -> Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let options = BasicPublishOptions::default();
    let mut sent = Vec::with_capacity(batch.len());
    for message in &batch {
        let send = channel.basic_publish("".into(), queue.clone(), options, message, properties.clone());
        let mut send = Box::pin(maybe_done(send));
        let _ = begin(&mut send).await;
        sent.push(send);
    }
    let mut confirms = Vec::with_capacity(batch.len());
    for mut send in sent {
        send.as_mut().await;
        let confirm = send.as_mut().take_output().context("a publish without a result")?;
        confirms.push(confirm.context("publishing")?);
    }
    for confirm in confirms {
        ensure!(confirm.await.context("waiting for a confirm")?.is_ack(), "RabbitMQ refused a message");
    }
    Ok(())
}

/// Receives deliveries that the broker pushes.
pub struct Subscriber {
    deliveries: lapin::Consumer,
    channel: Channel,
    unsettled: VecDeque<u64>,
    _connection: Connection,
}

impl Subscriber {
    /// Starts the deliveries; the window limits those that are not settled.
    pub async fn open(connection: Connection, queue: &str, shape: Shape) -> Result<Self> {
        let channel = connection.create_channel().await?;
        let prefetch = u16::try_from(shape.window).unwrap_or(u16::MAX);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let deliveries = channel.basic_consume(queue.into(), "".into(), options, arguments).await?;
        Ok(Self { deliveries, channel, unsettled: VecDeque::new(), _connection: connection })
    }

    fn accept(&mut self, delivery: Delivery) -> Bytes {
        self.unsettled.push_back(delivery.delivery_tag);
        Bytes::from(delivery.data)
    }
}

#[async_trait]
impl Consumer for Subscriber {
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>> {
        let Some(first) = self.deliveries.next().await else { bail!("RabbitMQ ended the deliveries") };
        let mut payloads = vec![self.accept(first.context("a delivery")?)];
        while payloads.len() < max {
            match self.deliveries.next().now_or_never() {
                Some(Some(delivery)) => payloads.push(self.accept(delivery.context("a delivery")?)),
                // The next call returns the end of the deliveries.
                Some(None) | None => break,
            }
        }
        Ok(payloads)
    }

    async fn settle(&mut self, count: usize) -> Result<Confirmation> {
        let newest = count.checked_sub(1).and_then(|newest| self.unsettled.get(newest).copied());
        let Some(newest) = newest else { bail!("{count} to settle of {}", self.unsettled.len()) };
        self.unsettled.drain(..count);
        let channel = self.channel.clone();
        let ack = async move {
            let acked = channel.basic_ack(newest, BasicAckOptions { multiple: true }).await;
            acked.context("settling")
        };
        begun(ack.boxed()).await
    }
}

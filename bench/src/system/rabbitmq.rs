//! RabbitMQ: one node, quorum queues, publisher confirms.

mod broker;
mod link;

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use lapin::{
    Connection, ConnectionProperties,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};

use super::{Consumer, Facts, Producer, Server, Shape, System};
use broker::Broker;

const FRAME_OVERHEAD: usize = 8;
const MIN_FRAME_BYTES: usize = 16 << 10;
/// The server's default.
const MAX_FRAME_BYTES: usize = 128 << 10;

/// RabbitMQ with quorum queues, its only kind of queue that syncs before a confirm.
#[derive(Debug)]
pub struct RabbitMq;

#[async_trait]
impl System for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>> {
        let broker = Broker::start(folder).await?;
        let version = broker.version()?;
        Ok(Box::new(Running { broker, version }))
    }
}

struct Running {
    broker: Broker,
    version: String,
}

#[async_trait]
impl Server for Running {
    fn facts(&self) -> Facts {
        Facts {
            system: RabbitMq.name().to_owned(),
            version: self.version.clone(),
            client: "lapin 4.12".to_owned(),
            publish_promise:
                "in the log of the quorum queue, synced (fdatasync), before its confirm; one replica"
                    .to_owned(),
            settle_promise: "no answer exists: sent; the log takes it in later, with what it syncs then"
                .to_owned(),
            security: "none: plain TCP, no encryption, the password of the guest user".to_owned(),
            settings: format!(
                "quorum queues with one replica; basic.ack of many; prefetch is the window; {}",
                broker::SETTINGS_IN_WORDS
            ),
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.broker.family()
    }

    async fn create(&self, queue: &str) -> Result<()> {
        let connection = connect(self.broker.address(), 0).await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await;
        declared.with_context(|| format!("declaring the queue {queue}"))?;
        connection.close(200, "done".into()).await.context("closing a connection")
    }

    async fn producer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Producer>> {
        let connection = connect(self.broker.address(), shape.payload_bytes).await?;
        Ok(Box::new(link::Publisher::open(connection, queue).await?))
    }

    async fn consumer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Consumer>> {
        let connection = connect(self.broker.address(), shape.payload_bytes).await?;
        Ok(Box::new(link::Subscriber::open(connection, queue, shape).await?))
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.broker.stop().await
    }
}

// For each connection the client clears two buffers of 32 frames: frames of the largest size would cost connections of
// small messages time and memory. A busy machine may be late with heartbeats, which must not close a connection.
async fn connect(address: SocketAddr, payload_bytes: usize) -> Result<Connection> {
    let frame_max = payload_bytes.saturating_add(FRAME_OVERHEAD).clamp(MIN_FRAME_BYTES, MAX_FRAME_BYTES);
    let uri = format!("amqp://guest:guest@{address}/%2f?heartbeat=0&frame_max={frame_max}");
    let connected = Connection::connect(&uri, ConnectionProperties::default()).await;
    connected.with_context(|| format!("connecting to RabbitMQ at {address}"))
}

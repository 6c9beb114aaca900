//! Publishing: an XADD for each message.

use ::redis::{aio::MultiplexedConnection, pipe};
use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::ready;

use crate::system::{Confirmation, Producer, handed::hand_over};

/// Sends batches over one connection, several in flight.
pub struct RedisProducer {
    connection: MultiplexedConnection,
    queue: String,
}

impl RedisProducer {
    /// A producer of this queue over this connection.
    pub fn new(connection: MultiplexedConnection, queue: &str) -> Self {
        Self { connection, queue: queue.to_owned() }
    }
}

#[async_trait]
impl Producer for RedisProducer {
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation> {
        if batch.is_empty() {
            return Ok(Box::pin(ready(Ok(()))));
        }
        let mut adds = pipe();
        // A transaction, although a batch needs none: the server reads a connection in pieces of 16 KiB and syncs after
        // each piece; a transaction is synced once.
        if batch.len() > 1 {
            adds.atomic();
        }
        for message in &batch {
            adds.cmd("XADD").arg(&self.queue).arg("*").arg("m").arg(message.as_ref()).ignore();
        }
        let mut connection = self.connection.clone();
        let request = async move { adds.exec_async(&mut connection).await.context("publishing to redis") };
        Ok(hand_over(request).await)
    }
}

//! Publishing: one INSERT for each batch.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::{Client, Statement};

use super::table;
use crate::system::{Confirmation, Producer, handed::hand_over};

/// Sends batches over one connection, several in flight; each commits on its own.
pub struct PostgresProducer {
    client: Arc<Client>,
    insert: Statement,
}

impl PostgresProducer {
    /// A producer of this queue over this connection.
    pub async fn new(client: Client, queue: &str) -> Result<Self> {
        let insert = client.prepare(&table::publish(queue)).await.context("preparing to publish")?;
        Ok(Self { client: Arc::new(client), insert })
    }
}

#[async_trait]
impl Producer for PostgresProducer {
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation> {
        let (client, insert) = (Arc::clone(&self.client), self.insert.clone());
        let request = async move {
            let messages: Vec<&[u8]> = batch.iter().map(AsRef::as_ref).collect();
            client.execute(&insert, &[&messages]).await.context("publishing to postgres")?;
            Ok(())
        };
        Ok(hand_over(request).await)
    }
}

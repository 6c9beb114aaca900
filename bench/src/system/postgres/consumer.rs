//! Consuming: an UPDATE returns messages and hides them, a DELETE settles them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_postgres::{Client, Statement};

use super::table;
use crate::system::{Confirmation, Consumer, handed::hand_over};

/// First and longest pause between two queries of an empty queue; each is twice as long as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// A message with its id.
type Entry = (i64, Bytes);

/// Receives and settles over one connection.
pub struct PostgresConsumer {
    client: Arc<Client>,
    update: Statement,
    delete: Statement,
    /// The outstanding receive; kept here, so that it survives a dropped `next`.
    receiving: Option<BoxFuture<'static, Result<Vec<Entry>>>>,
    /// Messages that were received and not returned.
    ahead: VecDeque<Entry>,
    /// Ids of messages that were returned and not settled.
    unsettled: VecDeque<i64>,
}

impl PostgresConsumer {
    /// A consumer of this queue over this connection.
    pub async fn new(client: Client, queue: &str) -> Result<Self> {
        let update = client.prepare(&table::receive(queue)).await.context("preparing to receive")?;
        let delete = client.prepare(&table::settle(queue)).await.context("preparing to settle")?;
        Ok(Self {
            client: Arc::new(client),
            update,
            delete,
            receiving: None,
            ahead: VecDeque::new(),
            unsettled: VecDeque::new(),
        })
    }

    /// Sends a receive, unless one is outstanding.
    async fn receive(&mut self, max: usize) {
        if self.receiving.is_none() {
            let max = i64::try_from(max).unwrap_or(i64::MAX);
            let request = receive(Arc::clone(&self.client), self.update.clone(), max);
            self.receiving = Some(hand_over(request).await);
        }
    }
}

/// Receives at least one message, and polls an empty queue. A NOTIFY with each publish would wake it at once, but makes
/// the commits of all producers wait for one another, each for its own disk write.
async fn receive(client: Arc<Client>, update: Statement, max: i64) -> Result<Vec<Entry>> {
    let (mut pause, longest) = PAUSES;
    loop {
        let rows = client.query(&update, &[&max]).await.context("receiving from postgres")?;
        if !rows.is_empty() {
            let entries = rows.iter().map(|row| {
                let message: &[u8] = row.try_get(1)?;
                Ok((row.try_get(0)?, Bytes::copy_from_slice(message)))
            });
            let mut entries = entries.collect::<Result<Vec<Entry>>>()?;
            entries.sort_unstable_by_key(|(id, _)| *id);
            return Ok(entries);
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

#[async_trait]
impl Consumer for PostgresConsumer {
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>> {
        while self.ahead.is_empty() {
            self.receive(max).await;
            if let Some(receiving) = &mut self.receiving {
                let received = receiving.await;
                self.receiving = None;
                self.ahead.extend(received?);
            }
        }
        let count = max.min(self.ahead.len());
        let mut messages = Vec::with_capacity(count);
        for (id, message) in self.ahead.drain(..count) {
            self.unsettled.push_back(id);
            messages.push(message);
        }
        Ok(messages)
    }

    async fn settle(&mut self, count: usize) -> Result<Confirmation> {
        ensure!(count <= self.unsettled.len(), "fewer than {count} messages are unsettled");
        let ids: Vec<i64> = self.unsettled.drain(..count).collect();
        let (client, delete) = (Arc::clone(&self.client), self.delete.clone());
        let request = async move {
            client.execute(&delete, &[&ids]).await.context("settling in postgres")?;
            Ok(())
        };
        Ok(hand_over(request).await)
    }
}

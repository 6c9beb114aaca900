//! Consuming: a member of the group reads, and settles by acknowledging and deleting.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use ::redis::{Value, aio::MultiplexedConnection, cmd, pipe};
use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};

use super::GROUP;
use crate::system::{Confirmation, Consumer, handed::hand_over};

/// Numbers the members of the groups.
static MEMBERS: AtomicU64 = AtomicU64::new(0);

/// A message with its id.
type Entry = (Vec<u8>, Bytes);

/// A member of the group. A waiting read blocks its connection, so settlements use a second one.
pub struct RedisConsumer {
    reads: MultiplexedConnection,
    settlements: MultiplexedConnection,
    queue: String,
    member: String,
    /// The outstanding read; kept here, so that it survives a dropped `next`.
    reading: Option<BoxFuture<'static, Result<Vec<Entry>>>>,
    /// Messages that were read and not returned.
    ahead: VecDeque<Entry>,
    /// Ids of messages that were returned and not settled.
    unsettled: VecDeque<Vec<u8>>,
}

impl RedisConsumer {
    /// A member of this queue's group.
    pub fn new(reads: MultiplexedConnection, settlements: MultiplexedConnection, queue: &str) -> Self {
        Self {
            reads,
            settlements,
            queue: queue.to_owned(),
            member: format!("member-{}", MEMBERS.fetch_add(1, Ordering::Relaxed)),
            reading: None,
            ahead: VecDeque::new(),
            unsettled: VecDeque::new(),
        }
    }

    /// Sends a read, unless one is outstanding.
    async fn read(&mut self, max: usize) {
        if self.reading.is_some() {
            return;
        }
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.member).arg("COUNT").arg(max).arg("BLOCK").arg(0);
        read.arg("STREAMS").arg(&self.queue).arg(">");
        let mut connection = self.reads.clone();
        let request = async move {
            let answer: Value = read.query_async(&mut connection).await.context("reading from redis")?;
            Ok(entries(answer))
        };
        self.reading = Some(hand_over(request).await);
    }
}

#[async_trait]
impl Consumer for RedisConsumer {
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>> {
        while self.ahead.is_empty() {
            self.read(max).await;
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                self.ahead.extend(read?);
            }
        }
        let count = max.min(self.ahead.len());
        let mut messages = Vec::with_capacity(count);
        for (id, message) in self.ahead.drain(..count) {
            self.unsettled.push_back(id);
            messages.push(message);
        }
        if self.ahead.is_empty() {
            // Read ahead: the server prepares the next messages while these are handled.
            self.read(max).await;
        }
        Ok(messages)
    }

    async fn settle(&mut self, count: usize) -> Result<Confirmation> {
        ensure!(count <= self.unsettled.len(), "fewer than {count} messages are unsettled");
        let ids: Vec<Vec<u8>> = self.unsettled.drain(..count).collect();
        if ids.is_empty() {
            return Ok(Box::pin(ready(Ok(()))));
        }
        let mut settlement = pipe();
        settlement.cmd("XACK").arg(&self.queue).arg(GROUP).arg(&ids).ignore();
        settlement.cmd("XDEL").arg(&self.queue).arg(&ids).ignore();
        let mut connection = self.settlements.clone();
        let request =
            async move { settlement.exec_async(&mut connection).await.context("settling in redis") };
        Ok(hand_over(request).await)
    }
}

/// The messages of an answer, without copying: `[[stream, [[id, [field, value]], ...]]]`.
fn entries(answer: Value) -> Vec<Entry> {
    let streams = list(answer).into_iter();
    streams.filter_map(|stream| list(stream).pop()).flat_map(list).filter_map(entry).collect()
}

fn entry(entry: Value) -> Option<Entry> {
    let mut parts = list(entry).into_iter();
    let (Some(Value::BulkString(id)), Some(fields)) = (parts.next(), parts.next()) else { return None };
    match list(fields).pop() {
        Some(Value::BulkString(message)) => Some((id, message.into())),
        _ => None,
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

//! The measured systems: Posthouse and its peers, behind the same traits.
//!
//! A system starts its server on the loopback, with its data on the same disk as all others, and stops it. What a
//! server promises with its answers is in its [`Facts`] and in the report.

mod begin;
mod handed;
mod library;
pub mod nats;
pub mod postgres;
pub mod posthouse;
pub mod process;
pub mod rabbitmq;
pub mod redis;

use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// A kind of server with certain settings.
#[async_trait]
pub trait System: Send + Sync {
    /// Name in the report: lower case and unique.
    fn name(&self) -> &'static str;

    /// Starts a server whose data is below this empty folder, and waits until it answers.
    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>>;
}

/// A running server. Dropping it ends the server.
#[async_trait]
pub trait Server: Send + Sync {
    /// Description and promises of the server.
    fn facts(&self) -> Facts;

    /// The server's processes with their children, whose processor time and memory count.
    fn pids(&self) -> Vec<u32>;

    /// Creates a queue.
    async fn create(&self, queue: &str) -> Result<()>;

    /// Opens a producer on a new connection.
    async fn producer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Producer>>;

    /// Opens a consumer on a new connection.
    async fn consumer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Consumer>>;

    /// Stops the server and waits until it has ended.
    async fn stop(self: Box<Self>) -> Result<()>;
}

/// Sends messages to one queue.
#[async_trait]
pub trait Producer: Send {
    /// Sends a batch, in order, without waiting for an answer. The returned future resolves when the server has
    /// confirmed that all of its messages are stored, in the server's sense of the word.
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation>;
}

/// Receives messages of one queue.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for at least one message and returns what was delivered, at most `max` messages. It is cancel safe:
    /// dropping it loses no message.
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>>;

    /// Settles the oldest `count` messages that were returned and are not settled. The returned future resolves when
    /// the server has confirmed it; where its protocol has no such answer, when the settlement is sent.
    async fn settle(&mut self, count: usize) -> Result<Confirmation>;

    /// Releases deliveries that were not returned, where closing the connection does not do so.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Resolves when the server has confirmed.
pub type Confirmation = BoxFuture<'static, Result<()>>;

/// How a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Most messages of one batch.
    pub batch: usize,
    /// Most messages of one connection without an answer.
    pub window: usize,
    /// Bytes of a payload.
    pub payload_bytes: usize,
}

/// Description of a system in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Name in the report.
    pub system: String,
    /// Version of the server.
    pub version: String,
    /// Name and version of the client library.
    pub client: String,
    /// What is on disk when the server answers a publish.
    pub publish_promise: String,
    /// What is on disk when the server answers a settlement, or that it does not answer.
    pub settle_promise: String,
    /// Encryption and authentication of the connection.
    pub security: String,
    /// Settings that matter and differ from the server's defaults.
    pub settings: String,
}

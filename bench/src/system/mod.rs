//! What is measured: Posthouse, and its peers, each behind the same few calls.
//!
//! A system starts its server on this machine's loopback with its data on the same disk as all others, and stops it. What a
//! peer promises when it answers stands in its [`Facts`] and goes into the report.

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

/// A kind of server in one of its settings.
#[async_trait]
pub trait System: Send + Sync {
    /// Its name in the report: lower case, unique.
    fn name(&self) -> &'static str;

    /// Starts a server whose data is below this folder, which is empty, and waits until it answers.
    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>>;
}

/// A server that runs. Dropping it ends it.
#[async_trait]
pub trait Server: Send + Sync {
    /// What it is and what it promises.
    fn facts(&self) -> Facts;

    /// Its processes, children included: whose processor time and memory count.
    fn pids(&self) -> Vec<u32>;

    /// Makes a queue that does not exist yet.
    async fn create(&self, queue: &str) -> Result<()>;

    /// Opens a producer, on a connection of its own.
    async fn producer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Producer>>;

    /// Opens a consumer, on a connection of its own.
    async fn consumer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Consumer>>;

    /// Asks the server to stop, and waits until it has.
    async fn stop(self: Box<Self>) -> Result<()>;
}

/// Sends messages to one queue.
#[async_trait]
pub trait Producer: Send {
    /// Hands a batch over, in order, and waits for no answer. What is returned resolves when the server has said of all of
    /// them that they are stored, in its own sense of the word.
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation>;
}

/// Takes messages of one queue.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for at least one message and returns what is there, at most so many. May be dropped while it waits: nothing
    /// is lost.
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>>;

    /// Settles the oldest so many of those returned that are not settled yet. What is returned resolves when the server
    /// has said so; where its protocol has no such answer, when the settlement is sent.
    async fn settle(&mut self, count: usize) -> Result<Confirmation>;

    /// Gives back what was delivered and not returned, where that is not what the end of a connection does.
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Resolves when the server has answered.
pub type Confirmation = BoxFuture<'static, Result<()>>;

/// How a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Most messages handed over together.
    pub batch: usize,
    /// Most messages of one connection that have no answer yet.
    pub window: usize,
    /// Bytes of a message.
    pub payload_bytes: usize,
}

/// What the report says of a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its name in the report.
    pub system: String,
    /// Of the server.
    pub version: String,
    /// The client library with its version.
    pub client: String,
    /// What is on disk when it answers a publish.
    pub publish_promise: String,
    /// What is on disk when it answers a settlement, or that it does not answer.
    pub settle_promise: String,
    /// Encryption and authentication of the connection.
    pub security: String,
    /// Settings that matter and differ from the server's own defaults.
    pub settings: String,
}

//! Redis Streams as a work queue: each queue is a stream with one consumer group; settled messages are deleted.

mod consumer;
mod producer;
mod server;

use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;

use crate::system::{Server, System};

/// The consumer group of each stream.
const GROUP: &str = "workers";

/// Redis with its append-only file.
#[derive(Debug, Clone, Copy)]
pub struct Redis {
    name: &'static str,
    sync: &'static str,
}

impl Redis {
    /// Syncs the append-only file before each answer.
    pub const fn always() -> Self {
        Self { name: "redis-always", sync: "always" }
    }

    /// Answers at once, and syncs the append-only file every second.
    pub const fn everysec() -> Self {
        Self { name: "redis-everysec", sync: "everysec" }
    }
}

#[async_trait]
impl System for Redis {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>> {
        Ok(Box::new(server::RedisServer::start(*self, folder).await?))
    }
}

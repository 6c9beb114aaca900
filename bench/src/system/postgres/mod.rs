//! PostgreSQL as a work queue: one table for each queue, with a visibility timeout on each message.

mod cluster;
mod consumer;
mod producer;
mod server;
mod table;

use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;

use crate::system::{Server, System};

/// PostgreSQL, with every commit on disk before its answer.
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

/// Name in the report.
const NAME: &str = "postgres";

#[async_trait]
impl System for Postgres {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>> {
        Ok(Box::new(server::PostgresServer::start(folder).await?))
    }
}

//! The server process and its settings.

use std::{fs, path::Path, process::Command};

use ::redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo as _, aio::MultiplexedConnection, cmd,
    io::tcp::TcpSettings,
};
use anyhow::{Context as _, Result};
use async_trait::async_trait;

use super::{GROUP, Redis, consumer::RedisConsumer, producer::RedisProducer};
use crate::system::{
    Consumer, Facts, Producer, Server, Shape,
    library::library,
    process::{PATIENCE, Process, free_address, until_ready},
};

/// Settings that differ from the server's defaults. The append-only file is rewritten when it has doubled, as in a
/// server that runs for long, but not while it is small. I/O threads are off: with two processors they cost more than
/// they bring.
const SETTINGS: &str = "appendonly yes; save \"\"; auto-aof-rewrite-min-size 1gb; stream-node-max-bytes 16384; \
    tcp-backlog 1024";

/// Requests that may wait for the task of a connection; more would block the sender.
const REQUESTS: usize = 65_536;

/// A running Redis.
pub struct RedisServer {
    system: Redis,
    version: String,
    client: Client,
    process: Process,
}

impl RedisServer {
    /// Starts the server and waits until it answers.
    pub async fn start(system: Redis, folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let settings = settings(system);
        let (ip, port) = (address.ip(), address.port());
        let file = folder.join("redis.conf");
        let config = format!("bind {ip}; port {port}; dir \"{}\"; {settings}", folder.display());
        fs::write(&file, config.replace("; ", "\n") + "\n").context("the settings of redis")?;
        let mut command = Command::new("redis-server");
        command.arg(&file);
        let mut process = Process::start("redis-server", command, &folder.join("redis.log"))?;
        // As with all systems: a small request does not wait for the answer to an earlier one.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = format!("redis://{address}/").into_connection_info()?.set_tcp_settings(tcp);
        let client = Client::open(info)?;
        let version = until_ready(&mut process, || version(&client)).await?;
        Ok(Self { system, version, client, process })
    }
}

/// Settings for the server and the report.
fn settings(system: Redis) -> String {
    format!("appendfsync {}; {SETTINGS}", system.sync)
}

/// Opens a connection without a timeout for answers.
async fn connect(client: &Client) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(REQUESTS);
    client.get_multiplexed_async_connection_with_config(&config).await.context("connecting to redis")
}

/// Version of the server.
async fn version(client: &Client) -> Result<String> {
    let mut connection = connect(client).await?;
    let text: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.context("redis does not say its version")?.trim().to_owned())
}

#[async_trait]
impl Server for RedisServer {
    fn facts(&self) -> Facts {
        let (publish, settle) = match self.system.sync {
            "always" => (
                "in the append-only file, which is on disk (fsync before the answer, shared by all that wait)",
                "as a publish: the acknowledgement and the deletion are on disk",
            ),
            _ => (
                "nothing: in memory, written to the append-only file; its fsync follows within about a second",
                "nothing: as a publish",
            ),
        };
        Facts {
            system: self.system.name.to_owned(),
            version: self.version.clone(),
            client: library("redis"),
            publish_promise: publish.to_owned(),
            settle_promise: settle.to_owned(),
            security: "none: plain TCP on the loopback, no password".to_owned(),
            settings: settings(self.system),
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.process.family()
    }

    async fn create(&self, queue: &str) -> Result<()> {
        let mut connection = connect(&self.client).await?;
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(queue).arg(GROUP).arg("0").arg("MKSTREAM");
        create.query_async::<()>(&mut connection).await.with_context(|| format!("creating {queue}"))
    }

    async fn producer(&self, queue: &str, _: Shape) -> Result<Box<dyn Producer>> {
        Ok(Box::new(RedisProducer::new(connect(&self.client).await?, queue)))
    }

    async fn consumer(&self, queue: &str, _: Shape) -> Result<Box<dyn Consumer>> {
        let (reads, settlements) = (connect(&self.client).await?, connect(&self.client).await?);
        Ok(Box::new(RedisConsumer::new(reads, settlements, queue)))
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.process.stop().await
    }
}

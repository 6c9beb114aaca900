//! NATS JetStream: one node, work queue streams on disk.

mod link;
mod publish;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_nats::{
    Client, ConnectOptions,
    jetstream::{Context as JetStream, consumer, context::ContextBuilder, stream},
};
use async_trait::async_trait;

use super::{
    Consumer, Facts, Producer, Server, Shape, System,
    process::{Process, free_address, until_ready},
};

/// Longest wait for an answer of a server under full load.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than any measurement, so that nothing is delivered twice.
const REDELIVERY: Duration = Duration::from_secs(3_600);
/// The durable consumer that all connections of a queue share.
const WORKERS: &str = "workers";

/// NATS JetStream with one sync policy.
#[derive(Debug)]
pub struct Nats {
    name: &'static str,
    sync: Option<&'static str>,
}

/// With the default policy: it answers before the message is on disk, and syncs every two minutes.
pub const NATS: Nats = Nats { name: "nats", sync: None };
/// With a sync before every answer.
pub const NATS_ALWAYS: Nats = Nats { name: "nats-always", sync: Some("always") };

#[async_trait]
impl System for Nats {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>> {
        let address = free_address()?;
        let config = folder.join("nats.conf");
        fs::write(&config, self.config(address, &folder.join("data"))).context("writing nats.conf")?;
        let mut command = Command::new(program());
        command.arg("--config").arg(&config).current_dir(folder);
        let mut process = Process::start("nats-server", command, &folder.join("nats.log"))?;
        let client = until_ready(&mut process, || async move {
            let client = connect(address, 1).await?;
            jetstream(client.clone()).query_account().await.context("asking JetStream for its account")?;
            Ok(client)
        })
        .await?;
        let version = client.server_info().version;
        Ok(Box::new(Running { process, address, version, name: self.name, sync: self.sync }))
    }
}

impl Nats {
    // max_pending: a client that reads large messages slowly must not be disconnected.
    fn config(&self, address: SocketAddr, data: &Path) -> String {
        let sync = self.sync.map(|sync| format!("sync_interval: {sync}")).unwrap_or_default();
        let data = data.display();
        format!(
            "listen: \"{address}\"\nserver_name: bench\nmax_pending: 1GB\n\
             jetstream {{\n  store_dir: \"{data}\"\n  {sync}\n}}\n"
        )
    }
}

struct Running {
    process: Process,
    address: SocketAddr,
    version: String,
    name: &'static str,
    sync: Option<&'static str>,
}

#[async_trait]
impl Server for Running {
    fn facts(&self) -> Facts {
        let (publish_promise, how) = match self.sync {
            Some(_) => (
                "in the file of the stream, synced (fsync) before its answer",
                "every message published on its own",
            ),
            None => (
                "written to the file of the stream, not synced: that follows every two minutes",
                "messages handed over together are published as one fast-ingest batch",
            ),
        };
        Facts {
            system: self.name.to_owned(),
            version: self.version.clone(),
            client: "async-nats 0.51".to_owned(),
            publish_promise: publish_promise.to_owned(),
            settle_promise: link::SETTLE_PROMISE.to_owned(),
            security: "none: plain TCP, no authentication".to_owned(),
            settings: format!(
                "sync_interval {}; max_pending 1GB; work queue stream on file, one replica; one durable pull consumer, \
                 explicit acks (a work queue takes no others), no limit of pending acks; {how}",
                self.sync.unwrap_or("2m (default)"),
            ),
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.process.family()
    }

    async fn create(&self, queue: &str) -> Result<()> {
        let context = jetstream(connect(self.address, 1).await?);
        let stream = context.create_stream(stream_config(queue)).await;
        let stream = stream.with_context(|| format!("creating the stream {queue}"))?;
        let consumer = stream.create_consumer(consumer_config()).await;
        consumer.with_context(|| format!("creating the consumer of {queue}"))?;
        Ok(())
    }

    async fn producer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Producer>> {
        let client = connect(self.address, shape.window).await?;
        // The server abandons a batch that receives no message for ten seconds, which cannot be configured. With a sync
        // for each message it can be that far behind its connections.
        match self.sync {
            Some(_) => Ok(Box::new(publish::Single::new(client, queue))),
            None => Ok(Box::new(publish::Batched::open(client, queue).await?)),
        }
    }

    async fn consumer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Consumer>> {
        let client = connect(self.address, shape.window).await?;
        Ok(Box::new(link::Subscriber::open(&client, queue, shape).await?))
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.process.stop().await
    }
}

fn stream_config(queue: &str) -> stream::Config {
    stream::Config {
        name: queue.to_owned(),
        subjects: vec![queue.to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        storage: stream::StorageType::File,
        num_replicas: 1,
        allow_batch_publish: true,
        ..Default::default()
    }
}

// A work queue accepts only explicit acks. By default a consumer stops after 1,000 outstanding acks and serves the
// requests of 512 connections.
fn consumer_config() -> consumer::pull::Config {
    consumer::pull::Config {
        durable_name: Some(WORKERS.to_owned()),
        ack_policy: consumer::AckPolicy::Explicit,
        ack_wait: REDELIVERY,
        max_ack_pending: -1,
        max_waiting: 16_384,
        ..Default::default()
    }
}

async fn connect(address: SocketAddr, window: usize) -> Result<Client> {
    let options = ConnectOptions::new()
        .request_timeout(Some(PATIENCE))
        // The client drops messages beyond its capacity.
        .subscription_capacity(window.saturating_mul(4).max(65_536))
        .client_capacity(8_192)
        .read_buffer_capacity(u16::MAX);
    let connected = options.connect(address.to_string()).await;
    connected.with_context(|| format!("connecting to NATS at {address}"))
}

fn jetstream(client: Client) -> JetStream {
    ContextBuilder::new().timeout(PATIENCE).build(client)
}

// From the PATH, or from the folder that `make bench` installs it to.
fn program() -> PathBuf {
    let name = "nats-server";
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = env::var_os("HOME").map(|home| Path::new(&home).join(".cache/posthouse/tools/bin"));
    let mut candidates = env::split_paths(&path).chain(tools).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file()).unwrap_or_else(|| name.into())
}

//! Posthouse: mutual TLS, tokens and a sync before every answer, through its client crate.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use posthouse_client::{Client, Delivery, Publisher, QueueSettings, Settlement};
use posthouse_tests::harness::{
    binaries,
    probe::scrape,
    server,
    site::{CIVIL, Site},
    wire::Caller,
};

use super::{Confirmation, Consumer, Facts, Producer, Server, Shape, System};

/// Posthouse, as `posthouse serve` runs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Posthouse;

/// A running server.
pub struct Running {
    server: server::Server,
    site: Site,
    client: Client,
}

#[async_trait]
impl System for Posthouse {
    fn name(&self) -> &'static str {
        "posthouse"
    }

    async fn start(&self, folder: &Path) -> Result<Box<dyn Server>> {
        Ok(Box::new(start(folder).await?))
    }
}

/// Starts a server below a folder.
pub async fn start(folder: &Path) -> Result<Running> {
    Running::start(Site::below(folder)).await
}

impl Running {
    /// Starts a server on a site.
    pub async fn start(site: Site) -> Result<Self> {
        let server = server::Server::start(&site).await;
        let client = Client::connect(site.context(CIVIL)).await?;
        Ok(Self { server, site, client })
    }

    /// Runs a command as the server of a site.
    pub async fn start_as(site: Site, command: Command) -> Result<Self> {
        let mut server = server::Server::run(&site, command);
        server.ready(&site).await;
        let client = Client::connect(site.context(CIVIL)).await?;
        Ok(Self { server, site, client })
    }

    /// Kills the server as a crash would, and starts it again without waiting until it answers.
    pub fn crash(&mut self) {
        self.server.kill();
        self.server = server::Server::launch(&self.site, &binaries::posthouse(), None);
    }

    /// Stops the server, starts it again and waits until it answers.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.terminate();
        self.server.ended().await;
        self.server = server::Server::start(&self.site).await;
        Ok(())
    }

    /// The current metrics.
    pub async fn metrics(&self) -> String {
        scrape(self.site.management()).await
    }

    /// Stops the server and returns its log.
    pub async fn end(self) -> Result<String> {
        let mut server = self.server;
        server.terminate();
        let status = server.ended().await;
        if status.success() {
            Ok(server.log())
        } else {
            Err(anyhow!("the server ended with {status}:\n{}", server.log()))
        }
    }

    /// A client of the server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A connection for calls without the client crate.
    pub async fn caller(&self) -> Caller {
        Caller::connect(&self.site, &self.site.credentials(CIVIL)).await
    }

    /// Data folder of the server.
    pub fn data(&self) -> PathBuf {
        self.site.data()
    }
}

/// Full name of a queue.
pub fn full_name(queue: &str) -> String {
    format!("tenants/{CIVIL}/departments/household-registry/queues/{queue}")
}

/// Name of a queue for the client crate.
pub fn short_name(queue: &str) -> String {
    format!("household-registry/{queue}")
}

#[async_trait]
impl Server for Running {
    fn facts(&self) -> Facts {
        Facts {
            system: "posthouse".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            client: format!("posthouse-client {}", env!("CARGO_PKG_VERSION")),
            publish_promise: "synced to the disk (fdatasync)".to_owned(),
            settle_promise:
                "synced to the disk (fdatasync), and confirmed; the lease was synced before the delivery"
                    .to_owned(),
            security: "mutual TLS 1.3, and a signed token bound to the certificate".to_owned(),
            settings: "defaults, but 4 shards".to_owned(),
        }
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.server.id()]
    }

    async fn create(&self, queue: &str) -> Result<()> {
        let settings = QueueSettings::new().max_attempts(1_000);
        self.client.queues().create(&short_name(queue), &settings).await?;
        Ok(())
    }

    async fn producer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Producer>> {
        sender(&self.client, &short_name(queue), shape).await
    }

    async fn consumer(&self, queue: &str, shape: Shape) -> Result<Box<dyn Consumer>> {
        let credit = u32::try_from(shape.window)?;
        let consumer = self.client.consumer(short_name(queue)).credit_messages(credit).credit_bytes(1 << 30);
        Ok(Box::new(Receiver { consumer: consumer.open().await?, unsettled: VecDeque::new() }))
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.end().await.map(drop)
    }
}

/// Opens a producer with this client.
pub async fn sender(client: &Client, queue: &str, shape: Shape) -> Result<Box<dyn Producer>> {
    let publisher = client.publisher(queue).batch_messages(shape.batch).linger(Duration::ZERO);
    Ok(Box::new(Sender(publisher.max_in_flight_batches(shape.window).open().await?)))
}

struct Sender(Publisher);

#[async_trait]
impl Producer for Sender {
    async fn publish(&mut self, batch: Vec<Bytes>) -> Result<Confirmation> {
        let acks = self.0.publish_many(batch).await;
        Ok(async move {
            for answer in acks.await {
                answer?;
            }
            Ok(())
        }
        .boxed())
    }
}

struct Receiver {
    consumer: posthouse_client::Consumer,
    unsettled: VecDeque<Delivery>,
}

#[async_trait]
impl Consumer for Receiver {
    async fn next(&mut self, max: usize) -> Result<Vec<Bytes>> {
        let deliveries = self.consumer.next_many(max).await?;
        if deliveries.is_empty() {
            return Err(anyhow!("the stream has ended"));
        }
        let payloads = deliveries.iter().map(|delivery| delivery.payload().clone()).collect();
        self.unsettled.extend(deliveries);
        Ok(payloads)
    }

    async fn settle(&mut self, count: usize) -> Result<Confirmation> {
        let oldest = self.unsettled.drain(..count).map(|delivery| (delivery, Settlement::Ack));
        let settling = self.consumer.settle_all(oldest);
        Ok(async move {
            for settled in settling.await {
                settled?;
            }
            Ok(())
        }
        .boxed())
    }

    async fn close(&mut self) -> Result<()> {
        Ok(self.consumer.close().await?)
    }
}

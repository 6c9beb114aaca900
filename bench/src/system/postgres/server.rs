//! The server process and its settings.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio_postgres::{Client, Config, NoTls};

use super::{NAME, cluster::Cluster, consumer::PostgresConsumer, producer::PostgresProducer, table};
use crate::system::{
    Consumer, Facts, Producer, Server, Shape,
    library::library,
    process::{Process, free_address, until_ready},
};

/// Settings that differ from the server's defaults. The queries of a queue are planned once, while its table is empty:
/// without sequential scans and hash and merge joins, the plan uses the index, which suits a full table too.
const SETTINGS: &str = "shared_buffers=2GB wal_buffers=64MB max_wal_size=8GB min_wal_size=2GB checkpoint_timeout=15min \
    wal_compression=lz4 wal_level=minimal max_wal_senders=0 max_connections=1100 autovacuum_naptime=5s \
    autovacuum_vacuum_cost_limit=2000 enable_seqscan=off enable_hashjoin=off enable_mergejoin=off jit=off";

/// How a table is used, for the report.
const TABLE: &str = "a table as of pgmq, fillfactor 50, no index on vt, rows updated by ctid; an empty queue is looked \
    at again after 1 ms, 2 ms ... 16 ms";

/// A running PostgreSQL.
#[derive(Debug)]
pub struct PostgresServer {
    address: SocketAddr,
    version: String,
    folder: PathBuf,
    process: Process,
    cluster: Cluster,
}

impl PostgresServer {
    /// Creates a data folder, starts a server on it and waits until it answers.
    pub async fn start(folder: &Path) -> Result<Self> {
        let cluster = Cluster::make(folder).await?;
        let address = free_address()?;
        let mut command = cluster.command("postgres").into_std();
        command.arg("-D").arg(&cluster.data);
        let listen =
            format!("listen_addresses={} port={} unix_socket_directories=", address.ip(), address.port());
        for setting in listen.split(' ').chain(SETTINGS.split(' ')) {
            command.arg("-c").arg(setting);
        }
        let mut process = Process::start("postgres", command, &folder.join("postgres.log"))?;
        let version = until_ready(&mut process, || version(address)).await?;
        Ok(Self { address, version, folder: folder.to_owned(), process, cluster })
    }
}

/// Opens a new connection.
async fn connect(address: SocketAddr) -> Result<Client> {
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port()).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await.context("connecting to postgres")?;
    // The task ends with its client; the client's requests report its errors.
    drop(tokio::spawn(connection));
    Ok(client)
}

/// Version of the server.
async fn version(address: SocketAddr) -> Result<String> {
    let row = connect(address).await?.query_one("SHOW server_version", &[]).await?;
    Ok(row.try_get(0)?)
}

#[async_trait]
impl Server for PostgresServer {
    fn facts(&self) -> Facts {
        Facts {
            system: NAME.to_owned(),
            version: self.version.clone(),
            client: library("tokio-postgres"),
            publish_promise:
                "the commit is in the write-ahead log, which is on disk (fdatasync before the answer, \
                              shared by all that wait)"
                    .to_owned(),
            settle_promise:
                "as a publish: the deletion is on disk; so is, before it, that the message was handed out"
                    .to_owned(),
            security: "none: plain TCP on the loopback, trust authentication".to_owned(),
            settings: format!("{SETTINGS}; WAL segments of 64 MB; {TABLE}"),
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.process.family()
    }

    async fn create(&self, queue: &str) -> Result<()> {
        let statements = table::create(queue);
        let client = connect(self.address).await?;
        client.batch_execute(&statements).await.with_context(|| format!("creating {queue}"))
    }

    async fn producer(&self, queue: &str, _: Shape) -> Result<Box<dyn Producer>> {
        Ok(Box::new(PostgresProducer::new(connect(self.address).await?, queue).await?))
    }

    async fn consumer(&self, queue: &str, _: Shape) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(PostgresConsumer::new(connect(self.address).await?, queue).await?))
    }

    async fn stop(self: Box<Self>) -> Result<()> {
        self.cluster.stop(&self.folder.join("stop.log")).await?;
        self.process.stop().await
    }
}

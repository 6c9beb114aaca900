//! The limits of the machine, measured in the same run as the systems.
//!
//! A limit leaves out most of what a durable queue does, so that a result can be read as a share of it: the transport
//! alone (`echo`), the storage library alone (`rocksdb`), both and nothing else (`bare`), the disk alone (`fsync`,
//! `disk`).

mod bare;
mod certificates;
mod child;
mod disk;
mod door;
mod echo;
mod load;
mod raw;
mod usage;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{load::Load, row::Row};

/// Hidden subcommand that runs the server of `echo`.
pub const ECHO_COMMAND: &str = "limit-echo";
/// Hidden subcommand that runs the server of `bare`.
pub const BARE_COMMAND: &str = "limit-bare";

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Limit {
    /// A gRPC stream over mutual TLS whose server returns every frame.
    Echo,
    /// Synced RocksDB batches, without a network.
    Rocksdb,
    /// Frames over the same transport into synced RocksDB batches: the least that a durable server does.
    Bare,
    /// 4 KiB at a time written in place and synced.
    Fsync,
    /// 1 MiB at a time appended and synced.
    Disk,
}

impl Limit {
    /// All limits in the order in which they are measured.
    pub const ALL: [Self; 5] = [Self::Echo, Self::Rocksdb, Self::Bare, Self::Fsync, Self::Disk];

    /// Name of the limit in the raw data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Rocksdb => "rocksdb",
            Self::Bare => "bare",
            Self::Fsync => "fsync",
            Self::Disk => "disk",
        }
    }
}

/// The load on a limit: the same as that of the results it is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitLoad {
    /// Connections of `echo` and `bare`.
    pub connections: usize,
    /// Messages in a frame.
    pub batch: usize,
    /// Messages of one connection that may be without an answer.
    pub window: usize,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Seconds that a limit is measured, without its warm-up.
    pub seconds: f64,
}

impl From<Load> for LimitLoad {
    fn from(load: Load) -> Self {
        Self {
            connections: load.connections,
            batch: load.shape.batch,
            window: load.shape.window,
            payload_bytes: load.shape.payload_bytes,
            seconds: load.length.as_secs_f64(),
        }
    }
}

impl LimitLoad {
    /// A row with the fields that are known before the measurement.
    fn row(&self, limit: Limit) -> Row {
        Row {
            part: "limit".to_owned(),
            system: limit.name().to_owned(),
            scenario: "publish".to_owned(),
            round: 1,
            payload_bytes: self.payload_bytes as u64,
            connections: self.connections as u64,
            batch: self.batch as u64,
            window: self.window as u64,
            ..Row::default()
        }
    }
}

/// Arguments of a limit's server.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Folder with the certificates and keys.
    #[arg(long)]
    pub certificates: PathBuf,
    /// Folder of the data; `echo` has none.
    #[arg(long)]
    pub data: Option<PathBuf>,
}

/// Measures these limits. Each has a folder of its own below `folder`, which is removed afterwards.
pub async fn measure(which: &[Limit], folder: &Path, load: LimitLoad) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &limit in which {
        let own = folder.join(format!("limit-{}", limit.name()));
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        let measured = measure_one(limit, &own, load).await;
        rows.extend(measured.with_context(|| format!("the limit {}", limit.name()))?);
        // After a failure the folder stays, for the server's log.
        fs::remove_dir_all(&own).with_context(|| format!("cannot remove {}", own.display()))?;
    }
    Ok(rows)
}

async fn measure_one(limit: Limit, folder: &Path, load: LimitLoad) -> Result<Vec<Row>> {
    let folder = folder.to_owned();
    match limit {
        Limit::Echo => Ok(vec![child::measure_echo(&folder, load).await?]),
        Limit::Bare => Ok(vec![child::measure_bare(&folder, load).await?]),
        Limit::Rocksdb => tokio::task::spawn_blocking(move || raw::measure(&folder, load)).await?,
        Limit::Fsync => Ok(vec![tokio::task::spawn_blocking(move || disk::fsync(&folder)).await??]),
        Limit::Disk => {
            let measured = tokio::task::spawn_blocking(move || disk::sequential(&folder, load.seconds));
            Ok(vec![measured.await??])
        }
    }
}

/// Main function of `limit-echo`: serves until the process is killed.
pub async fn serve_echo(args: &ServeArgs) -> Result<()> {
    door::serve(args.listen, &args.certificates, echo::Echo).await
}

/// Main function of `limit-bare`: serves until the process is killed.
pub async fn serve_bare(args: &ServeArgs) -> Result<()> {
    let data = args.data.as_deref().context("`--data` is missing")?;
    door::serve(args.listen, &args.certificates, bare::service(data)?).await
}

#[cfg(test)]
mod tests;

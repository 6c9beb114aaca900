//! The limits of the machine, measured in the same run as what is compared with them.
//!
//! Each leaves out most of what a durable queue over the network does, so that a result can be read as a share of what
//! is left: the wire alone (`echo`), the storage library alone (`rocksdb`), both and nothing else (`bare`), the disk
//! alone (`fsync`, `disk`).

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

/// The hidden subcommand whose process is the server of `echo`.
pub const ECHO_COMMAND: &str = "limit-echo";
/// The hidden subcommand whose process is the server of `bare`.
pub const BARE_COMMAND: &str = "limit-bare";

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Limit {
    /// A gRPC stream over mutual TLS whose server gives every frame back.
    Echo,
    /// Synced RocksDB batches, without a network.
    Rocksdb,
    /// Frames over the same wire into synced RocksDB batches: the least that a durable server does.
    Bare,
    /// 4 KiB written in place and synced.
    Fsync,
    /// 1 MiB appended and synced.
    Disk,
}

impl Limit {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 5] = [Self::Echo, Self::Rocksdb, Self::Bare, Self::Fsync, Self::Disk];

    /// Its name in the raw data.
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

/// What the limits are measured with: that of the results they are compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitLoad {
    /// Of `echo` and `bare`.
    pub connections: usize,
    /// Messages in a frame.
    pub batch: usize,
    /// Messages of one connection without an answer.
    pub window: usize,
    /// Bytes of a message.
    pub payload_bytes: usize,
    /// How long each is measured, after it has warmed up.
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
    /// A row with what is known beforehand.
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

/// Where a limit's server listens, and what it needs.
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

/// Measures these limits. Data goes to folders of their own below `folder`, which are removed again.
pub async fn measure(which: &[Limit], folder: &Path, load: LimitLoad) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &limit in which {
        let own = folder.join(format!("limit-{}", limit.name()));
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        let measured = measure_one(limit, &own, load).await;
        rows.extend(measured.with_context(|| format!("the limit {}", limit.name()))?);
        // Only after a success: the logs of a server that failed say why.
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

/// The main of `limit-echo`: serves until it is ended.
pub async fn serve_echo(args: &ServeArgs) -> Result<()> {
    door::serve(args.listen, &args.certificates, echo::Echo).await
}

/// The main of `limit-bare`: serves until it is ended.
pub async fn serve_bare(args: &ServeArgs) -> Result<()> {
    let data = args.data.as_deref().context("`--data` is missing")?;
    door::serve(args.listen, &args.certificates, bare::service(data)?).await
}

#[cfg(test)]
mod tests;

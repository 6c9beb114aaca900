//! `posthouse store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `posthouse store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Check every checksum of a data folder, and whether log and store fit together. Writes nothing.
    Check(StoreCheck),
}

/// `posthouse store check`.
#[derive(Debug, Args)]
#[command(
    long_about = "Check a data folder whose server is stopped. Nothing is written.\n\n\
        In this order: the NODE file; the checksum of every group of the log; the checksum of every block of the store; \
        the rows of every shard against each other; and whether the store lies within the log. Ends with exit code 0 \
        when all of it is sound, and with 65 when something is not, or was not looked at.",
    after_help = "Examples:\n  posthouse store check /var/lib/posthouse"
)]
pub struct StoreCheck {
    /// The data folder: `data_dir` of the server's configuration.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Rows of one shard that may be checked against each other in memory, at about 100 bytes each.
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    pub max_rows: u64,
}

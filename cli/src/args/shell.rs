//! `posthouse man`.

use std::path::PathBuf;

use clap::Args;

/// `posthouse man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    posthouse man > /usr/local/share/man/man1/posthouse.1\n  \
    posthouse man --dir /usr/local/share/man/man1")]
pub struct Man {
    /// Write a page for each command into this folder, which is created if it is missing.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

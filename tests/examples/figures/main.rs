//! The promised figures, measured on this machine: `make figures`.
//!
//! * `rates`: how many messages a second are published, consumed, and passed on
//! * `restart`: with a million messages waiting, how long after a kill until the first delivery, and how much memory
//!   while all messages are consumed
//! * `tombstones`: how many deleted rows a delivery reads over in a queue through which millions of messages have
//!   passed
//!
//! Arguments name the measurements; without arguments all are made. The exit code is 1 if a promise was broken. The
//! figures are of use only on a machine that does nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on has to say where"
)]

mod rates;
mod restart;
mod tombstones;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};
use serde_json::Value;

const QUEUE: &str = "household-registry/figures";

/// A server of its own, and the number of broken promises.
pub struct Bench {
    site: Site,
    server: Server,
    context: PathBuf,
    missed: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut bench = Bench::start(Site::new()).await;
    if is_wanted("rates") {
        rates::measure(&mut bench);
    }
    if is_wanted("restart") {
        restart::measure(&mut bench).await;
    }
    if is_wanted("tombstones") {
        bench.missed += tombstones::measure().await;
    }
    if bench.missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Bench {
    async fn start(site: Site) -> Self {
        let server = Server::start(&site).await;
        let context = site.context_file(CIVIL);
        cli::succeed(&context, ["queue", "create", QUEUE]);
        Self { site, server, context, missed: 0 }
    }

    /// Runs `posthouse bench` and returns its report.
    fn run(&self, arguments: &str) -> Value {
        let arguments = format!("bench {arguments} --json").replace("QUEUE", QUEUE);
        serde_json::from_slice(&cli::succeed(&self.context, arguments.split(' '))).unwrap()
    }

    /// Prints a figure.
    fn show(&self, what: &str, figure: &str) {
        println!("{what:<58} {figure:>14}");
    }

    /// Prints a figure with what is promised of it.
    fn judge(&mut self, what: &str, figure: &str, met: bool, promised: &str) {
        let verdict = if met { "" } else { "  MISSED" };
        println!("{what:<58} {figure:>14}   promised: {promised}{verdict}");
        self.missed += u32::from(!met);
    }
}

/// A number from the environment, to try a measurement with fewer messages.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// The total size of the files in a folder.
fn folder_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

//! `posthouse consume`.

use clap::{Args, ValueEnum};

/// `posthouse consume`.
#[derive(Debug, Args)]
pub struct Consume {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// End after this many messages.
    #[arg(long, value_name = "N", conflicts_with = "until_empty", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End when nothing is ready or in flight; delayed messages do not count.
    #[arg(long)]
    pub until_empty: bool,
    /// What to write for a message.
    #[arg(long, value_enum, default_value_t = Output::Payload)]
    pub output: Output,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The payload's bytes and a line feed.
    Payload,
    /// One JSON object per line; a payload that is not UTF-8 comes as base64.
    Json,
}

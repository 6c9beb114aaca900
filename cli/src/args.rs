//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod bench;

pub use bench::{Bench, Load, Sending, Taking};

/// Posthouse: a secure, multi-tenant message queue.
#[derive(Debug, Parser)]
#[command(name = "posthouse", version, arg_required_else_help = true)]
pub struct Cli {
    /// The context file of a client command: where the server is and who is calling.
    #[arg(long, global = true, env = "POSTHOUSE_CONTEXT", value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a throwaway server with sample tenants, on loopback, with everything it needs in one folder.
    Dev {
        /// The folder; made when missing, kept across restarts.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// A loopback address and port.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7443")]
        listen: SocketAddr,
    },
    /// Run the server.
    Serve {
        /// Its configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take the wall clock as right although it is more than seven days ahead of what is stored.
        #[arg(long)]
        accept_clock_jump: bool,
    },
    /// Publish one message per line, and say at the end how many of the first lines are durable.
    Publish(Publish),
    /// Write messages to stdout, one per line, and acknowledge what was written.
    Consume(Consume),
    /// Measure how many messages a server takes and gives, and how long they take.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: Bench,
    },
    /// Queue definitions.
    Queue {
        /// What to do.
        #[command(subcommand)]
        command: Queue,
    },
    /// Ask the server whether it serves.
    Ping,
}

/// `posthouse publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// Where the lines come from; - is stdin.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// An attribute for every message; may be given several times.
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = key_value)]
    pub attributes: Vec<(String, String)>,
}

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

/// `posthouse queue`.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// Create a queue.
    Create {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
        /// What differs from the defaults.
        #[command(flatten)]
        settings: QueueSettings,
    },
    /// List the queues of a department, one resource name per line.
    List {
        /// DEPARTMENT, or tenants/T/departments/D; of DEPARTMENT/QUEUE, that queue alone.
        department: String,
    },
    /// Show a queue's definition and counts as JSON.
    Describe {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
    },
    /// Delete a queue with everything in it.
    Delete {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
    },
    /// Remove every message of a queue.
    Purge {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
    },
}

/// Settings of a new queue.
#[derive(Debug, Args)]
pub struct QueueSettings {
    /// Largest payload, in bytes; 1 MiB unless given.
    #[arg(long, value_name = "N")]
    pub max_message_bytes: Option<u32>,
    /// How long a consumer has before a message goes to another; 30 unless given.
    #[arg(long, value_name = "SECONDS")]
    pub lease_seconds: Option<u64>,
    /// How often a message may fail; 16 unless given.
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u32>,
    /// Where messages go that failed too often: a queue of the same department.
    #[arg(long, value_name = "QUEUE")]
    pub dead_letter_queue: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an attribute is KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_attribute_may_hold_an_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(key_value("a="), Ok(("a".to_owned(), String::new())));
        assert!(key_value("=b").is_err());
        assert!(key_value("b").is_err());
    }
}

//! The command line: one file per group of commands.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod consume;
mod publish;
mod queue;

pub use consume::{Consume, Output};
pub use publish::Publish;
pub use queue::{Queue, QueueSettings};

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
    /// Queue definitions.
    Queue {
        /// What to do.
        #[command(subcommand)]
        command: Queue,
    },
    /// Ask the server whether it serves.
    Ping,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

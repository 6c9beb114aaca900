//! The command line: one file per group of commands.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::exit;

mod apply;
mod bench;
mod consume;
mod message;
mod publish;
mod queue;
mod shell;
mod store;
mod token;

pub use apply::Apply;
pub use bench::{Bench, Load, MIN_PAYLOAD_BYTES, Receiving, Sending};
pub use consume::{Consume, Output};
pub use message::{DeadLetters, Find, MessageCommand, RedriveLetters};
pub use publish::Publish;
pub use queue::{QueueChanges, QueueCommand, QueueSettings, Stats};
pub use shell::Man;
pub use store::{DataFolder, Store, StoreCheck, StoreReopen, StoreSkip};
pub use token::{Token, TokenInspect};

/// Posthouse: a secure, multi-tenant message queue.
///
/// One binary: the server, a throwaway server to try things on, and every client command. A client command needs a
/// context file, which says where the server is and who is calling; `posthouse dev` makes some.
#[derive(Debug, Parser)]
#[command(name = "posthouse", version, arg_required_else_help = true, after_help = exit::help())]
pub struct Cli {
    /// The context file of a client command: where the server is and who is calling.
    #[arg(long, global = true, env = "POSTHOUSE_CONTEXT", value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// Show no progress. It is shown only on a terminal.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a throwaway server with sample tenants, on loopback, with everything it needs in one folder.
    #[command(after_help = "Examples:\n  \
        posthouse dev --dir ~/.local/state/posthouse\n  \
        export POSTHOUSE_CONTEXT=~/.local/state/posthouse/contexts/civil-affairs.toml")]
    Dev {
        /// The folder, which has to be your own. It is created if it is missing, and kept across restarts.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Loopback address and port to listen on.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7443")]
        listen: SocketAddr,
    },
    /// Run the server.
    #[command(after_help = "Examples:\n  posthouse serve --config /etc/posthouse/posthouse.toml")]
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only check the configuration and every file it names: exit 0, or 78 with every error.
        #[arg(long)]
        check: bool,
        /// Accept the wall clock although it is more than seven days ahead of what is stored.
        #[arg(long)]
        accept_clock_jump: bool,
    },
    /// Publish one message per line, and print at the end how many of the first lines are durable.
    Publish(Publish),
    /// Write messages to stdout, one per line, and acknowledge what was written.
    Consume(Consume),
    /// Measure throughput and latencies of a server.
    #[command(after_help = bench::AFTER_HELP)]
    Bench {
        /// The measurement.
        #[command(subcommand)]
        command: Bench,
    },
    /// Create, change, show and delete queues.
    #[command(after_help = "Examples:\n  \
        posthouse queue create identity-cards/applications\n  \
        posthouse queue stats identity-cards/applications")]
    Queue {
        /// The command.
        #[command(subcommand)]
        command: QueueCommand,
    },
    /// Make the queues of a file exist with the settings of the file. Deletes nothing.
    Apply(Apply),
    /// Find messages.
    #[command(after_help = "Examples:\n  posthouse message find AAAAAQAAAAIAAAAAAAAAACo")]
    Message {
        /// The command.
        #[command(subcommand)]
        command: MessageCommand,
    },
    /// List dead letters, and retry them.
    #[command(after_help = "Examples:\n  posthouse dead-letters list identity-cards/failed")]
    DeadLetters {
        /// The command.
        #[command(subcommand)]
        command: DeadLetters,
    },
    /// Show what a token says.
    #[command(after_help = "Examples:\n  posthouse token inspect")]
    Token {
        /// The command.
        #[command(subcommand)]
        command: Token,
    },
    /// Check the data folder of a stopped server, and resume a halted shard.
    #[command(after_help = "Examples:\n  posthouse store check /var/lib/posthouse")]
    Store {
        /// The command.
        #[command(subcommand)]
        command: Store,
    },
    /// Ask the server whether it serves.
    #[command(after_help = "Examples:\n  posthouse ping")]
    Ping,
    /// Write a completion script for a shell to stdout.
    #[command(after_help = "Examples:\n  \
        posthouse completions bash > /etc/bash_completion.d/posthouse\n  \
        posthouse completions zsh > ~/.zfunc/_posthouse\n  \
        posthouse completions fish > ~/.config/fish/completions/posthouse.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual page to stdout, or one page per command into a folder.
    Man(Man),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command has a description, and examples that parse.
    #[test]
    fn every_command_has_an_about_and_an_example() {
        let mut command = Cli::command();
        command.build();
        let mut lacking = Vec::new();
        for command in command.get_subcommands() {
            judge(command, command.get_name(), &mut lacking);
        }
        assert!(lacking.is_empty(), "{lacking:#?}");
    }

    fn judge(command: &clap::Command, path: &str, lacking: &mut Vec<String>) {
        if command.get_name() == "help" {
            return;
        }
        if command.get_about().is_none() {
            lacking.push(format!("{path}: no about"));
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut examples = 0;
        for line in help.lines().map(str::trim).filter(|line| line.contains("posthouse ")) {
            let Some(words) = example(line) else { continue };
            if let Err(error) = Cli::try_parse_from(&words) {
                lacking.push(format!("{path}: {line}: {error}"));
            }
            // The example calls this command.
            examples += usize::from(words[1..].join(" ").starts_with(path));
        }
        // A group of commands shows examples of its members.
        if examples == 0 {
            lacking.push(format!("{path}: no example"));
        }
        for argument in command.get_arguments().filter(|argument| argument.get_help().is_none()) {
            lacking.push(format!("{path}: {} has no help", argument.get_id()));
        }
        for inner in command.get_subcommands() {
            judge(inner, &format!("{path} {}", inner.get_name()), lacking);
        }
    }

    /// The words of the posthouse call in a shell line; no word has quotes inside.
    fn example(line: &str) -> Option<Vec<String>> {
        let call = &line[line.find("posthouse ")?..];
        let call = call.split(['|', '>', '<', ';']).next()?;
        Some(call.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect())
    }
}

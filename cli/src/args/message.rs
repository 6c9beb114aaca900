//! `posthouse message` and `posthouse dead-letters`.

use clap::{ArgGroup, Args, Subcommand};

/// `posthouse message`.
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Show where a message is: ready, with a consumer, waiting, settled, or a dead letter.
    Find(Find),
}

/// `posthouse message find`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    posthouse message find AAAAAQAAAAIAAAAAAAAAACo\n  \
    posthouse message find AAAAAQAAAAIAAAAAAAAAACo --json")]
pub struct Find {
    /// Id of the message, from publish, consume --ndjson or a log.
    #[arg(value_name = "ID")]
    pub message_id: String,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

/// `posthouse dead-letters`.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List the dead letters of a queue, oldest first: those moved to it, and those parked in it.
    #[command(after_help = "Examples:\n  \
        posthouse dead-letters list identity-cards/failed\n  \
        posthouse dead-letters list identity-cards/failed --max 10 --json")]
    List {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
        /// Stop after this many.
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
    /// Retry dead letters: they return to their source queues, or become ready where they are parked.
    Redrive(RedriveLetters),
}

/// `posthouse dead-letters redrive`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["message_ids", "max", "all"]),
    long_about = "Retry dead letters.\n\n\
        Dead letters that were moved to a dead-letter queue return to their source queues, as new messages with new \
        ids; parked ones become ready where they are. Each is moved atomically, and what is printed as redriven is on \
        disk. Those that cannot be redriven are skipped: stderr says how many, which, and why.",
    after_help = "Examples:\n  \
        posthouse dead-letters redrive identity-cards/failed --all\n  \
        posthouse dead-letters redrive identity-cards/failed --max 100 --to applications\n  \
        posthouse dead-letters redrive identity-cards/failed --message AAAAAQAAAAIAAAAAAAAAACo"
)]
pub struct RedriveLetters {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// Only the dead letter with this id; may be given several times.
    #[arg(long = "message", value_name = "ID", allow_hyphen_values = true)]
    pub message_ids: Vec<String>,
    /// Move them to this queue of the same department instead of their source queues.
    #[arg(long, value_name = "QUEUE")]
    pub to: Option<String>,
    /// Only this many, from the oldest on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// All dead letters of the queue.
    #[arg(long)]
    pub all: bool,
}

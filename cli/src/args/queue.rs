//! `posthouse queue`.

use clap::{Args, Subcommand};

/// `posthouse queue`.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Create a queue.
    #[command(after_help = "Examples:\n  \
        posthouse queue create identity-cards/failed\n  \
        posthouse queue create identity-cards/applications --max-attempts 5 --dead-letter-queue failed")]
    Create {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
        /// Settings that differ from the defaults.
        #[command(flatten)]
        settings: QueueSettings,
    },
    /// Change the settings that are given, and nothing else.
    #[command(after_help = "Examples:\n  \
        posthouse queue update identity-cards/applications --lease-seconds 120\n  \
        posthouse queue update identity-cards/applications --no-dead-letter-queue --etag 3")]
    Update {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
        /// Settings that change.
        #[command(flatten)]
        changes: QueueChanges,
    },
    /// List the queues of a department, one resource name per line.
    #[command(after_help = "Examples:\n  posthouse queue list identity-cards")]
    List {
        /// DEPARTMENT, or tenants/T/departments/D; of DEPARTMENT/QUEUE, that queue alone.
        department: String,
    },
    /// Show a queue's definition and counts as JSON.
    #[command(after_help = "Examples:\n  posthouse queue describe identity-cards/applications")]
    Describe {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
    },
    /// Show the counts of a queue and its rates.
    Stats(Stats),
    /// Delete a queue and all its messages.
    #[command(after_help = "Examples:\n  posthouse queue delete identity-cards/applications")]
    Delete {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
    },
    /// Remove every message of a queue.
    #[command(after_help = "Examples:\n  posthouse queue purge identity-cards/applications")]
    Purge {
        /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
        queue: String,
    },
}

/// Settings of a queue.
#[derive(Debug, Args)]
pub struct QueueSettings {
    /// Largest payload, in bytes; 1048576 for a new queue unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_message_bytes: Option<u32>,
    /// How long a consumer has until a message is delivered to another, 1 to 43200; 30 for a new queue unless given.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub lease_seconds: Option<u64>,
    /// Deliveries of a message that may fail, 1 to 1000; 16 for a new queue unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: Option<u32>,
    /// The queue of the same department for messages that failed too often; without one they are parked.
    #[arg(long, value_name = "QUEUE")]
    pub dead_letter_queue: Option<String>,
}

/// `posthouse queue update`.
#[derive(Debug, Args)]
pub struct QueueChanges {
    /// New settings.
    #[command(flatten)]
    pub settings: QueueSettings,
    /// From now on, park messages that failed too often.
    #[arg(long, conflicts_with = "dead_letter_queue")]
    pub no_dead_letter_queue: bool,
    /// Only if the definition has this etag, which `queue describe` shows.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
}
/// `posthouse queue stats`.
#[derive(Debug, Args)]
#[command(
    long_about = "Show the counts of a queue and its rates.\n\n\
        The counts are of the subscription `default`; published, acked, dead-lettered and the averages are since the \
        queue was created. Waiting is from publish to the first delivery, processing from that delivery's lease to the \
        ack. In and out are measured between two answers of the server, a second apart unless --watch says otherwise.",
    after_help = "Examples:\n  \
        posthouse queue stats identity-cards/applications\n  \
        posthouse queue stats identity-cards/applications --watch 2\n  \
        posthouse queue stats identity-cards/applications --json | jq .ready"
)]
pub struct Stats {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// Print one JSON object on one line; times are in seconds, unknown ones null.
    #[arg(long)]
    pub json: bool,
    /// Repeat it after this many seconds, until interrupted.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub watch: Option<u64>,
}

//! `posthouse queue`.

use clap::{Args, Subcommand};

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

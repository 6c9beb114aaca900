//! `posthouse bench`.

use clap::{Args, Subcommand};

/// Smallest payload: the mark, the run's number and the time that every payload of a run begins with.
pub const MIN_PAYLOAD_BYTES: u32 = 24;

/// Text below `posthouse bench --help`.
pub(super) const AFTER_HELP: &str = "\
Examples:
  posthouse bench pipeline identity-cards/bench --count 100000

The queue must exist and be empty. The payloads are random bytes with a mark, by which this command recognizes its own
messages: it never acknowledges others, unless --force is given. Ctrl-C ends the run and prints what was measured.

Without --rate the loop is closed: it sends as much as --window allows, which measures throughput; latencies then show
the window, not the server. With --rate the loop is open: messages are due by a fixed schedule, and latencies count from
the moment a message was due, to about a millisecond, so that a server that falls behind cannot hide it.";

/// The measurements.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Publish, and measure from sending a message to the answer that it is on disk.
    #[command(after_help = "Examples:\n  posthouse bench publish identity-cards/bench --count 100000 --json")]
    Publish {
        /// Options of all measurements.
        #[command(flatten)]
        load: Load,
        /// How messages are published.
        #[command(flatten)]
        sending: Sending,
        /// Leave the messages in the queue, for `bench consume --no-fill`; otherwise they are consumed at the end.
        #[arg(long)]
        keep: bool,
    },
    /// Fill the queue, then consume it, and measure from a delivery to the answer that its settlement is on disk.
    #[command(after_help = "Examples:\n  posthouse bench consume identity-cards/bench --streams 4")]
    Consume {
        /// Options of all measurements.
        #[command(flatten)]
        load: Load,
        /// How messages are consumed.
        #[command(flatten)]
        receiving: Receiving,
        /// Consume what the queue holds already (see `bench publish --keep`); without --count, all of it.
        #[arg(long)]
        no_fill: bool,
    },
    /// Publish and consume at once, and measure from sending a message to its delivery, and to its settlement.
    #[command(
        after_help = "Examples:\n  posthouse bench pipeline identity-cards/bench --rate 5000 --size 512"
    )]
    Pipeline {
        /// Options of all measurements.
        #[command(flatten)]
        load: Load,
        /// How messages are published.
        #[command(flatten)]
        sending: Sending,
        /// How messages are consumed.
        #[command(flatten)]
        receiving: Receiving,
    },
}

/// Options of all measurements.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// Bytes of a payload.
    #[arg(long, value_name = "BYTES", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_PAYLOAD_BYTES)..=4 << 20))]
    pub size: u32,
    /// Messages to measure; 200,000 unless given, or ten seconds' worth with --rate.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub count: Option<u64>,
    /// Warm-up: messages before those that are measured; a twentieth of --count unless given, at most 10,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=10_000_000_000))]
    pub warm_up: Option<u64>,
    /// Streams, each on its own connection; a pipeline has this many of either kind.
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub streams: u16,
    /// Most messages of a publish batch.
    #[arg(long, value_name = "B", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Most messages in flight, over all streams.
    #[arg(long, value_name = "N", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub window: u32,
    /// Use a queue that holds messages. Those that are consumed are acknowledged, whoever published them.
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Bench {
    /// Options of all measurements.
    pub fn load(&self) -> &Load {
        match self {
            Self::Publish { load, .. } | Self::Consume { load, .. } | Self::Pipeline { load, .. } => load,
        }
    }
}

/// How messages are published.
#[derive(Debug, Clone, Copy, Args)]
pub struct Sending {
    /// Messages per second over all streams, by a fixed schedule (open loop). Without it, as many as possible.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
}

/// How messages are consumed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Receiving {
    /// Most unsettled deliveries of a stream.
    #[arg(long, value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub credit: u32,
}

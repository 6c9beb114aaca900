//! `posthouse consume`.

use clap::{Args, ValueEnum};

/// `posthouse consume`.
#[derive(Debug, Args)]
#[command(
    long_about = "Write messages to stdout, one per line, and acknowledge what was written.\n\n\
        A message is acknowledged once it was written and flushed; what could not be written is delivered again. \
        SIGINT and SIGTERM end the command cleanly.",
    after_help = "Examples:\n  \
        posthouse consume identity-cards/applications\n  \
        posthouse consume identity-cards/applications --count 10 --ndjson\n  \
        posthouse consume identity-cards/applications --until-empty --ndjson > applications.ndjson"
)]
pub struct Consume {
    /// DEPARTMENT/QUEUE, or tenants/T/departments/D/queues/Q.
    pub queue: String,
    /// End after this many messages.
    #[arg(long, value_name = "N", conflicts_with = "until_empty",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End when nothing is ready or in flight; delayed messages do not count.
    #[arg(long)]
    pub until_empty: bool,
    /// Write one JSON object per line, as `publish --ndjson` takes it: payload (or payload_base64, when it is not
    /// UTF-8), attributes, and id, sequence, publish_time, attempt, dead_letter.
    #[arg(long, conflicts_with = "output")]
    pub ndjson: bool,
    /// What to write of a message.
    #[arg(long, value_enum, default_value_t = Output::Payload)]
    pub output: Output,
    /// Write payloads unchanged to a terminal, too. They may move the cursor, change the title or fill the clipboard.
    /// Without it, control characters, bidirectional ones and bytes that are not UTF-8 are shown there as \u{1b} or
    /// \xff. A file or a pipe always gets the exact bytes.
    #[arg(long, conflicts_with = "ndjson")]
    pub raw: bool,
}

impl Consume {
    /// What to write of a message: --ndjson is short for `--output json`.
    pub fn output(&self) -> Output {
        if self.ndjson { Output::Json } else { self.output }
    }
}

/// What is written of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The payload's bytes and a line feed.
    Payload,
    /// One JSON object per line, as with --ndjson.
    Json,
}

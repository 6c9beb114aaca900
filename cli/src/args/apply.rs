//! `posthouse apply`.

use std::path::PathBuf;

use clap::Args;

/// `posthouse apply`.
#[derive(Debug, Args)]
#[command(
    long_about = "Make the queues of a file exist with the settings of the file.\n\n\
        The whole file is checked before the server is asked for anything, and all its errors are reported at once. \
        The output is a diff: `+` created, `~` changed (old -> new), `=` unchanged. A setting that the file does not \
        name gets its default. Applying the same file again changes nothing. Queues that the file does not name are \
        not touched, and nothing is ever deleted.",
    after_help = "Examples:\n  \
        posthouse apply -f queues.toml\n  \
        posthouse apply -f queues.toml --dry-run --exit-code\n\n\
        The file:\n  \
        tenant = \"civil-affairs\"                # optional; else the context's\n\n  \
        [departments.identity-cards.queues.failed]\n\n  \
        [departments.identity-cards.queues.applications]\n  \
        max_message_bytes = 65536               # 1 to 4128768; 1048576 unless given\n  \
        lease_seconds = 60                      # 1 to 43200; 30 unless given\n  \
        max_attempts = 5                        # 1 to 1000; 16 unless given\n  \
        dead_letter_queue = \"failed\"            # of the same department; none unless given"
)]
pub struct Apply {
    /// The TOML file; - is stdin.
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,
    /// Print the diff and change nothing.
    #[arg(long, visible_alias = "diff")]
    pub dry_run: bool,
    /// With --dry-run: exit with code 2 if something would change.
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
}

//! The one binary of Posthouse. What it does stands in the library.

// They panic when stdout or stderr is gone, and wait while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser as _;
use posthouse::{args::Cli, exit::Exit, log, shutdown, stderr, stdout};
use tikv_jemallocator::Jemalloc;

/// For RocksDB, too, which is linked into the same binary. Measured in `docs/adr/0006-processor-time-per-message.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Without a handler a limit ends this process as it always did: no reason not to begin.
    drop(shutdown::outlive_file_limits());
    log::log_panics();
    let exit = run();
    stderr::flush();
    exit.into()
}

fn run() -> Exit {
    match Cli::try_parse() {
        Ok(cli) => posthouse::run(cli).unwrap_or_else(|failure| {
            stderr::say(&failure);
            failure.exit
        }),
        Err(error) if error.use_stderr() => {
            stderr::say(error.render());
            Exit::Usage
        }
        Err(answer) => {
            let help = answer.render();
            let help = if stdout::has_colours() { help.ansi().to_string() } else { help.to_string() };
            // Help and version are answers, not errors; where they cannot be written nobody reads them.
            drop(stdout::write(help));
            Exit::Ok
        }
    }
}

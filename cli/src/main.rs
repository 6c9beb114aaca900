//! The binary of Posthouse; its code is in the library.

// The print macros panic if stdout or stderr is closed, and block while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::Parser as _;
use posthouse::{args::Cli, exit::Exit, log, shutdown, stderr, stdout};
use tikv_jemallocator::Jemalloc;

/// RocksDB, which is linked statically, uses it too. Measured in `docs/adr/0006-processor-time-per-message.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Without the handler a limit ends the process, which is no reason not to start.
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
            // Help and version are answers, not errors. If stdout is closed, nobody reads them.
            drop(stdout::write(help));
            Exit::Ok
        }
    }
}

//! The one binary of Posthouse. What it does stands in the library.

use std::io::{IsTerminal as _, stdout};
use std::process::ExitCode;

use clap::Parser as _;
use posthouse::args::Cli;
use posthouse::exit::Exit;
use tikv_jemallocator::Jemalloc;

/// For RocksDB, too, which is linked into the same binary. Measured in `docs/adr/0006-processor-time-per-message.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors; where they cannot be written nobody reads them.
            if error.use_stderr() {
                error.print().ok();
                return Exit::Usage.into();
            }
            let colours = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let help = error.render();
            let help = if colours { help.ansi().to_string() } else { help.to_string() };
            drop(posthouse::stdout::write(help));
            return Exit::Ok.into();
        }
    };
    match posthouse::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

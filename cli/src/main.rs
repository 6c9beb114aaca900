//! The one binary of Posthouse. What it does stands in the library.

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
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            error.print().ok();
            return exit.into();
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

//! `posthouse serve`, and the same path for `posthouse dev`.

use std::io::Write as _;
use std::path::Path;

use posthouse_server::config::Config;
use posthouse_server::{ServeError, ServeOptions};

use crate::exit::{Exit, Failure};
use crate::log;
use crate::shutdown::Interrupts;

/// Runs the server on a configuration file until SIGINT or SIGTERM, and drains it.
pub async fn serve(config: &Path, options: ServeOptions) -> Result<(), Failure> {
    let config = load(config)?;
    log::start(&config.observe.log);
    let mut interrupts = Interrupts::watch()?;
    let shutdown = async move { interrupts.next().await };
    let served = posthouse_server::serve(config, options, shutdown).await;
    served.map_err(|error| Failure::advised(exit(&error), error))
}

/// Reads the configuration and every file it names, and says whether a server would take them.
pub fn check(config: &Path) -> Result<(), Failure> {
    load(config)?;
    // Whether anybody reads it is no matter: the exit code says the same.
    writeln!(std::io::stdout(), "{} is in order", config.display()).ok();
    Ok(())
}

fn load(config: &Path) -> Result<Config, Failure> {
    Config::load(config)
        .map_err(|errors| Failure::new(Exit::Config, errors, "correct all of them; no port was opened"))
}

fn exit(error: &ServeError) -> Exit {
    match error {
        ServeError::Catalogue(_) => Exit::Config,
        ServeError::Door(_) | ServeError::Observe(_) | ServeError::Shard(_) => Exit::Unavailable,
        // The data folder, the store, the log, threads.
        _ => Exit::Io,
    }
}

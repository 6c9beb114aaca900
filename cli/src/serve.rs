//! `posthouse serve`, and the same path for `posthouse dev`.

use std::path::Path;

use posthouse_server::config::Config;
use posthouse_server::{ServeError, ServeOptions};

use crate::exit::{Exit, Failure};
use crate::log;
use crate::shutdown::Interrupts;

/// Runs the server on a configuration file until SIGINT or SIGTERM, and drains it.
pub async fn serve(config: &Path, options: ServeOptions) -> Result<(), Failure> {
    let config = Config::load(config)
        .map_err(|errors| Failure::new(Exit::Config, errors, "correct all of them; no port was opened"))?;
    log::start(&config.observe.log);
    let mut interrupts = Interrupts::watch()?;
    let shutdown = async move { interrupts.next().await };
    let served = posthouse_server::serve(config, options, shutdown).await;
    served.map_err(|error| Failure::advised(exit(&error), error))
}

fn exit(error: &ServeError) -> Exit {
    match error {
        ServeError::Catalogue(_) => Exit::Config,
        ServeError::Door(_) | ServeError::Observe(_) | ServeError::Shard(_) => Exit::Unavailable,
        // The data folder, the store, the log, threads.
        _ => Exit::Io,
    }
}

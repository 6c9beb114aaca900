//! The program's log: to stderr, filtered by `$POSTHOUSE_LOG`.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// What is logged unless `$POSTHOUSE_LOG` says otherwise.
const DEFAULT: &str = "info";

/// Starts logging for a server. Done once; a second call changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("POSTHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false);
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was started before");
    }
}

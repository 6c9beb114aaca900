//! The program's log: to stderr, as `[log]` says, filtered by `$POSTHOUSE_LOG` before anything else.

use std::io::{IsTerminal as _, stderr};

use posthouse_server::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// What is logged unless something else is asked for.
const DEFAULT: &str = "info";

/// Starts logging for a server. Done once; a second call changes nothing.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::try_from_env("POSTHOUSE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(config.level.as_deref().unwrap_or(DEFAULT)));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = match config.format {
        LogFormat::Text => subscriber.with_ansi(stderr().is_terminal()).with_target(false).try_init(),
        // One object a line: timestamp, level, target, message, and the record's own fields beside them.
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

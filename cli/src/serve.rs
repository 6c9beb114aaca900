//! `posthouse serve`; `posthouse dev` uses it too.

use std::{path::Path, sync::Arc};

use posthouse_server::{
    ServeError, ServeOptions,
    config::{Config, ConfigErrors, Severity},
    observe::ObserveError,
};
use posthouse_text::causes;

use crate::{
    exit::Exit,
    failure::Failure,
    log,
    shutdown::{Hangups, Interrupts, outlive_terminals},
    stderr, stdout,
};

/// What a server does on SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHangup {
    /// Reads certificates, authorities and key sets again.
    Reread,
    /// Ends, since its terminal was closed.
    End,
}

/// Runs the server on a configuration file until SIGINT or SIGTERM, and drains it.
pub async fn serve(config: &Path, options: ServeOptions, on_hangup: OnHangup) -> Result<(), Failure> {
    // Before the configuration is read: a signal in that time must neither be lost nor kill the process.
    let mut interrupts = match on_hangup {
        OnHangup::Reread => Interrupts::without_hangups()?,
        OnHangup::End => Interrupts::watch()?,
    };
    let rereading = match on_hangup {
        OnHangup::Reread => Some((Hangups::watch()?, Arc::clone(&options.reread))),
        OnHangup::End => None,
    };
    outlive_terminals()?;
    let config = load(config)?;
    log::start(&config.observe.log);
    let options = ServeOptions { log: Some(stderr::out().clone()), ..options };
    let shutdown = async move { interrupts.next().await };
    let reread = async move {
        let Some((mut hangups, reread)) = rereading else { return std::future::pending().await };
        loop {
            hangups.next().await;
            reread.notify_one();
        }
    };
    let served = tokio::select! {
        served = posthouse_server::serve(config, options, shutdown) => served,
        never = reread => never,
    };
    served.map_err(|error| Failure::advised(exit(&error), causes(&error)))
}

/// Reads the configuration and every file it names, and checks that a server would accept them, and clients the
/// server's certificate.
pub fn check(config: &Path) -> Result<(), Failure> {
    let loaded = load(config)?;
    let (refused, notices): (Vec<_>, Vec<_>) =
        loaded.notices.into_iter().partition(|notice| notice.severity == Severity::Refused);
    let notices: String = notices.iter().map(|notice| format!("note: {}\n", notice.what)).collect();
    // Nobody waits for a reader: the exit code says the same.
    if !refused.is_empty() {
        if !notices.is_empty() {
            stdout::mention(notices);
        }
        let errors = refused.into_iter().map(|notice| notice.what).collect();
        return Err(Failure::new(
            Exit::Config,
            ConfigErrors { file: config.to_owned(), errors },
            "correct all of them; `posthouse serve` would warn and serve, in case the clock is wrong",
        ));
    }
    stdout::mention(format!("{notices}{} is in order\n", config.display()));
    Ok(())
}

fn load(config: &Path) -> Result<Config, Failure> {
    Config::load(config)
        .map_err(|errors| Failure::new(Exit::Config, errors, "correct all of them; no port was opened"))
}

fn exit(error: &ServeError) -> Exit {
    match error {
        ServeError::Catalogue(_) => Exit::Config,
        ServeError::Observe(ObserveError::Access(_)) => Exit::Io,
        ServeError::Door(_) | ServeError::Observe(_) | ServeError::Shard(_) => Exit::Unavailable,
        // The data folder, the store, the log, threads, or lost access records.
        _ => Exit::Io,
    }
}

//! Certificates, keys and key sets, read again when their files change.
//!
//! Their folders are watched, not the files: Kubernetes swaps a link beside them (`..data`), and other tools rename a
//! new file to the old name. The content decides. For file systems that report no changes, everything is also read
//! again at intervals, and at once on SIGHUP. A file that cannot be used changes nothing: the last good one stays in
//! use, and a warning names the file and the reason.

mod certificate;
mod sources;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{info, warn};

use self::{
    sources::{News, Sources},
    watch::Watch,
};
use crate::{
    config::Config,
    door::Trust,
    identity::TokenVerifier,
    limits::{RELOAD_INTERVAL, RELOAD_PATIENCE, RELOAD_QUIET},
    observe::Observer,
};

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server's certificate and key.
    Certificate,
    /// The roots of an authority.
    Authority,
    /// The key set of an issuer.
    KeySet,
}

/// Reads the files again for as long as the server runs.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    watch: Watch,
    asked: Arc<Notify>,
    observer: Arc<Observer>,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Authority, Self::KeySet];

    /// The word for it in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Authority => "authority",
            Self::KeySet => "key_set",
        }
    }
}

impl Reloader {
    /// Begins to watch the files of the configuration. Notifying `asked` has the files read at once.
    pub fn new(
        config: &Config,
        trust: Trust,
        tokens: Arc<TokenVerifier>,
        asked: Arc<Notify>,
        observer: Arc<Observer>,
    ) -> Self {
        let sources = Sources::new(config, trust, tokens);
        let watch = Watch::begin(sources.paths());
        Self { sources, watch, asked, observer }
    }

    /// Goes on until it is dropped.
    pub async fn run(self) {
        let Self { mut sources, watch, asked, observer } = self;
        let mut again = interval(RELOAD_INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let was_asked = tokio::select! {
                // The first tick is immediate: something may have changed since the configuration was read.
                _ = again.tick() => false,
                () = watch.changed() => {
                    settled(&watch, RELOAD_QUIET, RELOAD_PATIENCE).await;
                    false
                }
                () = until(sources.next_read()) => false,
                () = asked.notified() => true,
            };
            let read_all = move || {
                if was_asked {
                    sources.forget_reports();
                }
                let news = sources.read_all();
                (sources, news)
            };
            let Ok((read, news)) = tokio::task::spawn_blocking(read_all).await else {
                return warn!("files are no longer read again: the server must be restarted for new ones");
            };
            sources = read;
            if let Some(not_after) = sources.certificate_not_after() {
                observer.metrics.certificate_not_after(not_after);
            }
            if was_asked {
                let accepted = news.iter().filter(|news| matches!(news, News::Accepted(..))).count();
                info!(changed = accepted, "read all files again, as was asked");
            }
            news.into_iter().for_each(|news| report(news, &observer));
        }
    }
}

fn report(news: News, observer: &Observer) {
    match news {
        News::Accepted(kind, file) => {
            observer.metrics.reloads(kind.as_str(), true);
            info!(kind = kind.as_str(), file = %file.display(), "read a changed file");
        }
        News::Remark { kind, file, text, is_suspicious: false } => {
            info!(kind = kind.as_str(), file = %file.display(), "{text}");
        }
        News::Remark { kind, file, text, is_suspicious: true } => {
            warn!(kind = kind.as_str(), file = %file.display(), "{text}");
        }
        News::Refused(kind, reason) => {
            observer.metrics.reloads(kind.as_str(), false);
            warn!(
                kind = kind.as_str(),
                reason, "a changed file cannot be used; the last good one goes on until it is put right"
            );
        }
        News::Unfit(reason) => warn!(reason, "clients refuse the certificate that this server shows"),
    }
}

/// Waits for a moment of the wall clock; for ever if there is none. Not less than a second, in case the clock has been
/// set back since.
async fn until(moment: Option<SystemTime>) {
    let Some(moment) = moment else { return std::future::pending().await };
    let left = moment.duration_since(SystemTime::now()).unwrap_or_default();
    sleep(left.max(Duration::from_secs(1))).await;
}

/// Returns when nothing has changed for a while: files that belong together are often written one by one.
async fn settled(watch: &Watch, quiet: Duration, patience: Duration) {
    let start = Instant::now();
    while start.elapsed() < patience && timeout(quiet, watch.changed()).await.is_ok() {}
}

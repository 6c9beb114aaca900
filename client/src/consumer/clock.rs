use std::time::Duration;

use posthouse_proto::v1;
use tokio::time::Instant;

use crate::{stream::TOKEN_INTERVAL, time};

/// The server sends a frame at least every 15 s. After this silence the client pings, and after the next limit it
/// treats the server as dead.
pub(super) const PING_AFTER: Duration = Duration::from_secs(30);
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// The times at which the work on a stream has something to do.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) token: Instant,
    pub(super) renewal: Instant,
    /// When the silence of the server leads to a ping, or ends the stream.
    pub(super) silence: Instant,
    pub(super) pinged: bool,
    pub(super) credit: Option<Instant>,
    /// When the next lease ends.
    pub(super) expiry: Option<Instant>,
    pub(super) lease: Duration,
    /// Leases that the server has announced to resume and has not sent yet.
    pub(super) to_resume: u32,
}

impl Clock {
    pub(super) fn start(opened: &v1::ConsumeOpened) -> Self {
        let now = Instant::now();
        let lease = time::duration(opened.lease_duration).filter(|lease| *lease >= Duration::from_secs(1));
        let lease = lease.unwrap_or(DEFAULT_LEASE);
        Self {
            token: now + TOKEN_INTERVAL,
            renewal: now,
            silence: now + PING_AFTER,
            pinged: false,
            credit: None,
            expiry: None,
            lease,
            to_resume: opened.resumed_leases,
        }
    }

    pub(super) fn on_frame(&mut self) {
        self.silence = Instant::now() + PING_AFTER;
        self.pinged = false;
    }

    pub(super) fn next(&self) -> Instant {
        let next = self.token.min(self.renewal).min(self.silence);
        [self.credit, self.expiry].into_iter().flatten().fold(next, Instant::min)
    }
}

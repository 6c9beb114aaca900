//! When a connection is asked to leave although it is in order: at its age, or after too many failed tokens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rand::RngExt as _;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::transport::Passed;
use crate::limits::{AUTH_FAILURES_GRACE, CONNECTION_AGE_GRACE, MAX_AUTH_FAILURES};

/// In each request's extensions: cancelled when the connection, or the server, is about to close. Streams tell their
/// clients to move then.
#[derive(Clone, Debug)]
pub struct Leaving(pub CancellationToken);

/// In each request's extensions: how many of the connection's calls in a row have failed to authenticate.
#[derive(Clone, Debug, Default)]
pub struct AuthFailures(Arc<Failures>);

#[derive(Debug, Default)]
struct Failures {
    in_a_row: AtomicU32,
    too_many: Notify,
}

impl AuthFailures {
    /// A call's token was refused.
    pub fn failed(&self) {
        if self.0.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= MAX_AUTH_FAILURES {
            self.0.too_many.notify_one();
        }
    }

    /// A call's token was taken.
    pub fn succeeded(&self) {
        self.0.in_a_row.store(0, Ordering::Relaxed);
    }

    async fn too_many(&self) {
        self.0.too_many.notified().await;
    }
}

/// Asks the connection to leave when its time has come, and returns when it has had the time to: when what it was at makes no
/// progress, or has taken far too long.
pub(super) async fn leave_in_time(age: Duration, failures: AuthFailures, leaving: Leaving, passed: Passed) {
    let grace = tokio::select! {
        () = sleep(age) => {
            tracing::debug!("the connection has reached its age; its client is asked to open another");
            CONNECTION_AGE_GRACE
        }
        () = failures.too_many() => {
            tracing::warn!(failures = MAX_AUTH_FAILURES, "connection closed: its calls fail to authenticate");
            AUTH_FAILURES_GRACE
        }
    };
    leaving.0.cancel();
    // It has ended in either case.
    let _ = timeout(grace, passed.stalled()).await;
}

/// An age a tenth more or less, so that connections that were opened together do not all come back together.
pub(super) fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::rng().random_range(0.9..=1.1))
}

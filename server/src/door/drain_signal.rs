//! When a connection is asked to leave although it is in order: at its age, or after too many failed tokens.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{connection_auth::ConnectionAuth, transport::Passed};
use crate::limits::{AUTH_FAILURES_GRACE, CONNECTION_AGE_GRACE};

/// In each request's extensions: cancelled when the connection, or the server, is about to close. Streams then ask
/// their clients to move.
#[derive(Clone, Debug)]
pub struct DrainSignal(pub CancellationToken);

/// Asks the connection to close when its age is reached, and returns when it has had enough time: when its calls make
/// no progress, or take far too long, or go on although too many have failed. `warn` is called for these.
pub(super) async fn drain_in_time(
    age: Duration,
    auth: &ConnectionAuth,
    drain_signal: &DrainSignal,
    passed: Passed,
    warn: impl FnOnce(),
) {
    let grace = tokio::select! {
        () = sleep(age) => {
            tracing::debug!("the connection has reached its age; its client is asked to open another");
            CONNECTION_AGE_GRACE
        }
        () = auth.too_many() => {
            warn();
            AUTH_FAILURES_GRACE
        }
    };
    drain_signal.0.cancel();
    tokio::select! {
        // It has ended in either case.
        _ = timeout(grace, passed.stalled()) => {}
        () = auth.goes_on() => {}
    }
}

/// The age, a tenth more or less, so that connections that were opened together do not all reconnect together.
pub(super) fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::rng().random_range(0.9..=1.1))
}

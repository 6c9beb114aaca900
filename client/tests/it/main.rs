//! The client with a server that keeps the protocol, breaks connections, and refuses when a test orders it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fake;
mod pki;
mod wire;

mod connecting;
mod consuming;
mod guarding;
mod letters;
mod limiting;
mod managing;
mod pooling;
mod publishing;
mod resuming;
mod rotating;
mod silence;
#[cfg(feature = "opentelemetry")]
mod tracing;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// Polls until the condition holds; tests never wait for a time to pass.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Fails instead of hanging.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("not in time: {what}"),
    }
}

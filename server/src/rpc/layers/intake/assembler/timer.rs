//! The time limits of a message that arrives.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::{BODY_DEADLINE, BODY_IDLE, LEAST_BODY_BYTES_PER_SECOND};

/// Measures how long a message takes to arrive.
pub(super) struct MessageTimer {
    /// Since when the message is awaited, without the time spent waiting for capacity.
    begun: Instant,
    /// When bytes of it arrived last.
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl MessageTimer {
    /// A timer for a message that is awaited from now on.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, sleep: None }
    }

    /// Bytes have arrived, which begin a message or continue it.
    pub(super) fn bytes_arrived(&mut self, begins: bool) {
        self.last = Instant::now();
        if begins {
            self.begun = self.last;
        }
    }

    /// The wait for capacity has ended. It does not count as time of the client.
    pub(super) fn wait_ended(&mut self) {
        let now = Instant::now();
        self.begun += now - self.last;
        self.last = now;
    }

    /// No message is awaited.
    pub(super) fn stop(&mut self) {
        self.sleep = None;
    }

    /// Ready once a message of this length has taken too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, length: usize) -> Poll<()> {
        let end = self.end(length);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if sleep.deadline() != end {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(context)
    }

    /// When further bytes of a message of this length must have arrived, or all of them.
    fn end(&self, length: usize) -> Instant {
        let for_length = Duration::from_secs(length as u64 / LEAST_BODY_BYTES_PER_SECOND);
        (self.last + BODY_IDLE).min(self.begun + BODY_DEADLINE + for_length)
    }
}

//! Whether and when to try again after a failure.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::error::{ConnectError, Error, ErrorKind, Refusal};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How long to wait for renewed credentials after the server has refused them.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether retries cure a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FailureClass {
    /// Retries may succeed.
    Transient,
    /// Retries succeed once the token or certificate files are renewed, which is likely to happen soon.
    Credentials,
    /// Retries do not help.
    Permanent,
}

pub(crate) fn classify(error: &Error) -> FailureClass {
    match error {
        // A context error is retryable only if a source of the program failed, which may be as temporary as a failure
        // of the server.
        Error::Connect(error) if error.is_retryable() => FailureClass::Transient,
        Error::Connect(
            ConnectError::Context(_) | ConnectError::Handshake { .. } | ConnectError::NotGrpc { .. },
        ) => FailureClass::Credentials,
        Error::Connect(_) => FailureClass::Transient,
        Error::Refused(refusal) => classify_refusal(refusal),
        Error::Name(_) | Error::Protocol(_) => FailureClass::Permanent,
    }
}

pub(crate) fn classify_refusal(refusal: &Refusal) -> FailureClass {
    // The codes of these reasons would suggest a retry.
    if matches!(
        refusal.reason(),
        Some(
            "SESSION_TAKEN_OVER" | "PRODUCER_FENCED" | "QUEUE_DELETED" | "SHARD_HALTED" | "MESSAGE_TOO_LARGE"
        )
    ) {
        return FailureClass::Permanent;
    }
    if matches!(refusal.code(), Code::Unimplemented | Code::DataLoss) {
        return FailureClass::Permanent;
    }
    match refusal.kind() {
        ErrorKind::Unauthenticated => FailureClass::Credentials,
        // The server may be about to end when it answers INTERNAL; sessions make a repetition safe.
        ErrorKind::Unavailable | ErrorKind::LimitReached | ErrorKind::Internal => FailureClass::Transient,
        _ => FailureClass::Permanent,
    }
}

/// Counts failures since the last success, and computes how long to wait after each.
#[derive(Debug)]
pub(crate) struct Backoff {
    give_up_after: Duration,
    failures: u32,
    failing_since: Option<Instant>,
    refused_since: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, failures: 0, failing_since: None, refused_since: None }
    }

    /// Records a success.
    pub(crate) fn reset(&mut self) {
        if self.failures > 0 {
            *self = Self::new(self.give_up_after);
        }
    }

    /// The time since the first failure after the last success.
    pub(crate) fn failing_for(&self) -> Duration {
        self.failing_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Lowers the time after which to give up.
    pub(crate) fn limit_to(&mut self, give_up_after: Duration) {
        self.give_up_after = self.give_up_after.min(give_up_after);
    }

    /// How long to wait before the next attempt; `None` to give up.
    pub(crate) fn delay_after(&mut self, error: &Error) -> Option<Duration> {
        let floor = match error {
            Error::Refused(refusal) => refusal.retry_after(),
            _ => None,
        };
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let (since, limit) = match classify(error) {
            FailureClass::Permanent => return None,
            FailureClass::Transient => {
                self.refused_since = None;
                (since, self.give_up_after)
            }
            FailureClass::Credentials => {
                (*self.refused_since.get_or_insert(now), self.give_up_after.min(CREDENTIALS_TIMEOUT))
            }
        };
        if now.duration_since(since) >= limit {
            return None;
        }
        let delay = delay(self.failures).max(floor.unwrap_or(Duration::ZERO));
        self.failures = self.failures.saturating_add(1);
        Some(delay)
    }
}

/// The delay doubles with every failure. A random part of up to a half is subtracted, so that many clients do not
/// return at once.
fn delay(failures: u32) -> Duration {
    let whole = FIRST_DELAY.saturating_mul(1 << failures.min(10)).min(LONGEST_DELAY);
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{Backoff, ConnectError, Error, FIRST_DELAY, LONGEST_DELAY, delay};

    #[test]
    fn delays_grow_to_a_bound() {
        for failures in 0..100 {
            let delay = delay(failures);
            assert!(delay >= Duration::from_millis(25) && delay <= LONGEST_DELAY);
        }
        assert!(delay(20) >= LONGEST_DELAY / 2);
    }

    #[test]
    fn patience_ends_and_begins_anew() {
        let broken = Error::Connect(ConnectError::Broken(Arc::from("reset")));
        let mut backoff = Backoff::new(Duration::from_secs(3600));
        for _ in 0..100 {
            assert!(backoff.delay_after(&broken).is_some());
        }
        assert!(backoff.delay_after(&Error::Protocol("x")).is_none(), "that will not pass");
        backoff.limit_to(Duration::ZERO);
        assert!(backoff.delay_after(&broken).is_none());
        let mut backoff = Backoff::new(Duration::from_secs(3600));
        for _ in 0..20 {
            backoff.delay_after(&broken);
        }
        backoff.reset();
        assert!(backoff.delay_after(&broken).is_some_and(|delay| delay <= FIRST_DELAY));
    }
}

//! When to try again, and when to stop trying.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::error::{ConnectError, Error, ErrorKind, Refusal};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// How long to wait for somebody to replace credentials that the server does not accept, or no longer.
const CREDENTIALS_PATIENCE: Duration = Duration::from_secs(30);

/// What a failure means for something that wants to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// It will pass.
    Transient,
    /// It passes when the token or certificate files are renewed, which is likely under way.
    Credentials,
    /// It will not pass.
    Permanent,
}

pub(crate) fn class(error: &Error) -> Class {
    match error {
        // Of the program's sources only; those may be away as a server may.
        Error::Connect(error) if error.is_retryable() => Class::Transient,
        Error::Connect(
            ConnectError::Context(_) | ConnectError::Handshake { .. } | ConnectError::NotGrpc { .. },
        ) => Class::Credentials,
        Error::Connect(_) => Class::Transient,
        Error::Refused(refusal) => class_of_refusal(refusal),
        Error::Name(_) | Error::Protocol(_) => Class::Permanent,
    }
}

pub(crate) fn class_of_refusal(refusal: &Refusal) -> Class {
    // These come with codes that would otherwise be worth a retry.
    if matches!(
        refusal.reason(),
        Some(
            "SESSION_TAKEN_OVER" | "PRODUCER_FENCED" | "QUEUE_DELETED" | "SHARD_HALTED" | "MESSAGE_TOO_LARGE"
        )
    ) {
        return Class::Permanent;
    }
    if matches!(refusal.code(), Code::Unimplemented | Code::DataLoss) {
        return Class::Permanent;
    }
    match refusal.kind() {
        ErrorKind::Unauthenticated => Class::Credentials,
        // An INTERNAL error of one attempt may be the server's end; sessions make repeating safe.
        ErrorKind::Unavailable | ErrorKind::LimitReached | ErrorKind::Internal => Class::Transient,
        _ => Class::Permanent,
    }
}

/// Counts failures since things last went well, and says how long to wait after each.
#[derive(Debug)]
pub(crate) struct Patience {
    give_up_after: Duration,
    failures: u32,
    failing_since: Option<Instant>,
    refused_since: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, failures: 0, failing_since: None, refused_since: None }
    }

    /// Things go well again.
    pub(crate) fn reset(&mut self) {
        if self.failures > 0 {
            *self = Self::new(self.give_up_after);
        }
    }

    /// How long things have been going badly.
    pub(crate) fn waited(&self) -> Duration {
        self.failing_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// From here on, a shorter patience.
    pub(crate) fn limit(&mut self, give_up_after: Duration) {
        self.give_up_after = self.give_up_after.min(give_up_after);
    }

    /// How long to wait before the next attempt; `None`: give up.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        let floor = match error {
            Error::Refused(refusal) => refusal.retry_after(),
            _ => None,
        };
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let (since, limit) = match class(error) {
            Class::Permanent => return None,
            Class::Transient => {
                self.refused_since = None;
                (since, self.give_up_after)
            }
            Class::Credentials => {
                (*self.refused_since.get_or_insert(now), self.give_up_after.min(CREDENTIALS_PATIENCE))
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

/// Doubles with every failure; half of it is random, so that many clients do not return at once.
fn delay(failures: u32) -> Duration {
    let whole = FIRST_DELAY.saturating_mul(1 << failures.min(10)).min(LONGEST_DELAY);
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{ConnectError, Error, FIRST_DELAY, LONGEST_DELAY, Patience, delay};

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
        let mut patience = Patience::new(Duration::from_secs(3600));
        for _ in 0..100 {
            assert!(patience.after(&broken).is_some());
        }
        assert!(patience.after(&Error::Protocol("x")).is_none(), "that will not pass");
        patience.limit(Duration::ZERO);
        assert!(patience.after(&broken).is_none());
        let mut patience = Patience::new(Duration::from_secs(3600));
        for _ in 0..20 {
            patience.after(&broken);
        }
        patience.reset();
        assert!(patience.after(&broken).is_some_and(|delay| delay <= FIRST_DELAY));
    }
}

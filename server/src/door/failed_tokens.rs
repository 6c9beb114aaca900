//! Certificates with which bad tokens were sent, over all connections: each may fail a limited number of times in an
//! interval.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::limits::{CERTIFICATE_FAILURES_WINDOW, FAILED_CERTIFICATES_GENERATION, MAX_CERTIFICATE_FAILURES};

/// SHA-256 of a certificate.
type Certificate = [u8; 32];

/// Bounded as the cache of tokens is: two generations, of which the older one is dropped when the younger one is full.
#[derive(Debug, Default)]
pub(super) struct FailedTokens(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<Certificate, Failures>,
    older: HashMap<Certificate, Failures>,
}

/// How often, less what time has forgiven.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: f64,
    at: Instant,
}

impl FailedTokens {
    /// How long no token with the certificate may be checked that was not checked before, if it has failed too often.
    pub(super) fn throttled(&self, certificate: &Certificate, now: Instant) -> Option<Duration> {
        let failures = self.generations().get(certificate)?;
        let over = failures.at(now).count + 1.0 - f64::from(MAX_CERTIFICATE_FAILURES);
        (over > 0.0).then(|| Duration::from_secs(1).max(forgiving().mul_f64(over)))
    }

    /// A token with the certificate was not good.
    pub(super) fn failed(&self, certificate: &Certificate, now: Instant) {
        let mut generations = self.generations();
        let mut failures = generations.get(certificate).unwrap_or(Failures { count: 0.0, at: now }).at(now);
        failures.count += 1.0;
        if generations.younger.len() >= FAILED_CERTIFICATES_GENERATION
            && !generations.younger.contains_key(certificate)
        {
            generations.older = mem::take(&mut generations.younger);
        }
        generations.younger.insert(*certificate, failures);
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&self, certificate: &Certificate) -> Option<Failures> {
        self.younger.get(certificate).or_else(|| self.older.get(certificate)).copied()
    }
}

impl Failures {
    fn at(self, now: Instant) -> Self {
        let forgiven = now.saturating_duration_since(self.at).div_duration_f64(forgiving());
        Self { count: (self.count - forgiven).max(0.0), at: now }
    }
}

/// The time after which one failure is forgiven.
fn forgiving() -> Duration {
    CERTIFICATE_FAILURES_WINDOW / MAX_CERTIFICATE_FAILURES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_may_fail_so_often_in_a_while_and_no_other_is_concerned() {
        let (failed_tokens, now) = (FailedTokens::default(), Instant::now());
        let (bad, good) = ([1; 32], [2; 32]);
        for _ in 0..MAX_CERTIFICATE_FAILURES {
            assert_eq!(failed_tokens.throttled(&bad, now), None);
            failed_tokens.failed(&bad, now);
        }
        let throttled = failed_tokens.throttled(&bad, now).unwrap();
        assert!(throttled >= Duration::from_secs(1), "{throttled:?}");
        assert_eq!(failed_tokens.throttled(&good, now), None);
        // Then a few at a time, and all of them after a while.
        let later = now + throttled;
        let few = (0..100).take_while(|_| {
            let free = failed_tokens.throttled(&bad, later).is_none();
            failed_tokens.failed(&bad, later);
            free
        });
        let few = few.count();
        assert!((1..20).contains(&few), "{few}");
        let later = later + 2 * CERTIFICATE_FAILURES_WINDOW;
        for _ in 0..MAX_CERTIFICATE_FAILURES {
            assert_eq!(failed_tokens.throttled(&bad, later), None);
            failed_tokens.failed(&bad, later);
        }
        assert!(failed_tokens.throttled(&bad, later).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (failed_tokens, now) = (FailedTokens::default(), Instant::now());
        for number in 0..5 * FAILED_CERTIFICATES_GENERATION {
            failed_tokens.failed(&crate::identity::sha256(&[&number.to_be_bytes()]), now);
        }
        let generations = failed_tokens.generations();
        assert!(generations.younger.len() + generations.older.len() <= 2 * FAILED_CERTIFICATES_GENERATION);
    }
}

//! Whether a call of a connection was authenticated, and how many calls were not.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use prometheus::IntCounterVec;
use tokio::sync::Notify;

use super::failed_tokens::FailedTokens;
use crate::{
    identity::IdentityError,
    limits::{MAX_AUTH_FAILURES, MAX_THROTTLED_CALLS, THROTTLED_RENEWAL_INTERVAL},
};

/// In each request's extensions: the authenticating layer asks it before it verifies a token, and reports the result to
/// it.
#[derive(Clone, Debug)]
pub struct ConnectionAuth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: [u8; 32],
    failed_tokens: Arc<FailedTokens>,
    /// Calls that were refused before their token was verified, by reason.
    throttled: IntCounterVec,
    /// There has been a call.
    called: AtomicBool,
    authenticated: AtomicBool,
    failures_in_a_row: AtomicU32,
    /// There were too many of them. It stays so.
    closing: AtomicBool,
    calls_since: AtomicU32,
    /// When a token was verified last though the certificate is throttled.
    verified_throttled: Mutex<Option<Instant>>,
    authenticates: Notify,
    too_many: Notify,
    goes_on: Notify,
}

impl ConnectionAuth {
    pub(super) fn new(
        certificate: [u8; 32],
        failed_tokens: Arc<FailedTokens>,
        throttled: IntCounterVec,
    ) -> Self {
        Self(Arc::new(Inner {
            certificate,
            failed_tokens,
            throttled,
            called: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            failures_in_a_row: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            calls_since: AtomicU32::new(0),
            verified_throttled: Mutex::default(),
            authenticates: Notify::new(),
            too_many: Notify::new(),
            goes_on: Notify::new(),
        }))
    }

    /// Whether calls of the connection are still verified.
    ///
    /// # Errors
    /// When too many have failed.
    pub fn may_call(&self) -> Result<(), IdentityError> {
        let inner = &*self.0;
        if !inner.closing.load(Ordering::Relaxed) {
            return Ok(());
        }
        inner.throttled.with_label_values(&["connection"]).inc();
        if inner.calls_since.fetch_add(1, Ordering::Relaxed).saturating_add(1) > MAX_THROTTLED_CALLS {
            inner.goes_on.notify_one();
        }
        Err(IdentityError::ConnectionThrottled)
    }

    /// Whether a token may be verified that was not verified before.
    ///
    /// # Errors
    /// When too many with the connection's certificate were not good.
    pub fn may_verify(&self) -> Result<(), IdentityError> {
        let inner = &*self.0;
        if inner.closing.load(Ordering::Relaxed) {
            return Err(IdentityError::ConnectionThrottled);
        }
        let now = Instant::now();
        match inner.failed_tokens.throttled(&inner.certificate, now) {
            Some(_) if self.may_renew(now) => Ok(()),
            Some(retry) => {
                inner.throttled.with_label_values(&["certificate"]).inc();
                Err(IdentityError::CertificateThrottled { retry })
            }
            None => Ok(()),
        }
    }

    /// A connection on which a token was good has one verified now and then, so that others with the same certificate
    /// do not keep it from renewing its own.
    fn may_renew(&self, now: Instant) -> bool {
        if !self.is_authenticated() {
            return false;
        }
        let mut last = self.0.verified_throttled.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| now.saturating_duration_since(last) >= THROTTLED_RENEWAL_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }

    /// A token was verified and is not good.
    pub fn token_refused(&self) {
        self.0.failed_tokens.failed(&self.0.certificate, Instant::now());
    }

    /// A call had a good token, whatever it may do.
    pub fn token_accepted(&self) {
        if !self.0.authenticated.swap(true, Ordering::Relaxed) {
            self.0.authenticates.notify_one();
        }
    }

    /// A call was not authenticated, or is of a method that there is not.
    pub fn failed(&self) {
        let inner = &*self.0;
        let failures = inner.failures_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= MAX_AUTH_FAILURES && !inner.closing.swap(true, Ordering::Relaxed) {
            inner.too_many.notify_one();
        }
    }

    /// A call with a token was let through. Calls that need none say nothing of the connection.
    pub fn succeeded(&self) {
        self.0.failures_in_a_row.store(0, Ordering::Relaxed);
    }

    /// There is a call.
    pub(super) fn called(&self) {
        if !self.0.called.load(Ordering::Relaxed) {
            self.0.called.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn was_called(&self) -> bool {
        self.0.called.load(Ordering::Relaxed)
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.0.authenticated.load(Ordering::Relaxed)
    }

    /// Returns when a call has been authenticated. To be waited for by one.
    pub(super) async fn authenticated(&self) {
        self.0.authenticates.notified().await;
    }

    /// Returns when too many calls have failed. To be waited for by one.
    pub(super) async fn too_many(&self) {
        self.0.too_many.notified().await;
    }

    /// Returns when calls go on and on nevertheless. To be waited for by one.
    pub(crate) async fn goes_on(&self) {
        self.0.goes_on.notified().await;
    }
}

#[cfg(test)]
impl ConnectionAuth {
    /// Of a connection of its own.
    pub(crate) fn for_tests(certificate: [u8; 32]) -> Self {
        let throttled = crate::observe::Observer::for_tests().metrics.door.throttled.clone();
        Self::new(certificate, Arc::default(), throttled)
    }

    /// Of another connection with the same certificate.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(self.0.certificate, Arc::clone(&self.0.failed_tokens), self.0.throttled.clone())
    }
}

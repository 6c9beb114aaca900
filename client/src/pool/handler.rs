use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{consumer::Delivery, error::BoxError};

/// What works on deliveries. Closures that return a future are handlers:
///
/// ```
/// use std::sync::Arc;
///
/// use posthouse_client::{Delivery, HandlerError};
///
/// async fn handle(delivery: Arc<Delivery>) -> Result<(), HandlerError> {
///     // Bad input will not become better: a dead letter. Any other error with `?` is a retry.
///     let text = std::str::from_utf8(delivery.payload()).map_err(|_| HandlerError::dead_letter())?;
///     tokio::fs::write("applications.txt", text).await?;
///     Ok(())
/// }
/// # fn is_handler(_: impl posthouse_client::Handler) {}
/// # is_handler(handle);
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Works on one delivery. `Ok` acks it, an error says what else becomes of it, a panic counts as a failed attempt.
    /// The delivery is shared with the pool, which settles it afterwards.
    fn handle(&self, delivery: Arc<Delivery>) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// What becomes of a delivery that was not handled.
///
/// Every error of the program becomes a retry, so that `?` does what is meant. Its text is given to
/// [`WorkerPoolBuilder::on_failure`](super::WorkerPoolBuilder::on_failure) and not logged: it may quote the payload.
pub struct HandlerError {
    pub(super) verdict: Verdict,
    pub(super) cause: Option<BoxError>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// `None`: the pool's delay for the attempt.
    Retry(Option<Duration>),
    DeadLetter,
    Release,
}

impl HandlerError {
    /// Try again, after the pool's delay for that attempt. It counts as an attempt.
    pub fn retry() -> Self {
        Self { verdict: Verdict::Retry(None), cause: None }
    }

    /// Try again, not before `delay` (0 to 30 days) has passed. It counts as an attempt.
    pub fn retry_after(delay: Duration) -> Self {
        Self { verdict: Verdict::Retry(Some(delay)), cause: None }
    }

    /// Hopeless: to the subscription's dead letters.
    pub fn dead_letter() -> Self {
        Self { verdict: Verdict::DeadLetter, cause: None }
    }

    /// Not tried: give it to another consumer. It does not count as an attempt.
    pub fn release() -> Self {
        Self { verdict: Verdict::Release, cause: None }
    }

    /// Says why.
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl<F, Fut> Handler for F
where
    F: Fn(Arc<Delivery>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), HandlerError>> + Send,
{
    fn handle(&self, delivery: Arc<Delivery>) -> impl Future<Output = Result<(), HandlerError>> + Send {
        self(delivery)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::retry().because(error)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{consumer::Delivery, error::BoxError};

/// Handles deliveries. A closure or function that returns a future is a handler:
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
    /// Handles one delivery. `Ok` acks it, an error says how it is settled, and a panic counts as a failed attempt. The
    /// pool settles the delivery afterwards.
    fn handle(&self, delivery: Arc<Delivery>) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// The error of a handler, and how its delivery is settled.
///
/// Any error that the program returns with `?` becomes a retry. Its text is passed to
/// [`WorkerPoolBuilder::on_failure`](super::WorkerPoolBuilder::on_failure) and is not logged, because it may quote the
/// payload.
pub struct HandlerError {
    pub(super) verdict: Verdict,
    pub(super) cause: Option<BoxError>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// `None` for the delay of the pool.
    Retry(Option<Duration>),
    DeadLetter,
    Release,
}

impl HandlerError {
    /// The message is delivered again after the delay of the pool; the attempt counts.
    pub fn retry() -> Self {
        Self { verdict: Verdict::Retry(None), cause: None }
    }

    /// The message is delivered again after `delay` (0 to 30 days); the attempt counts.
    pub fn retry_after(delay: Duration) -> Self {
        Self { verdict: Verdict::Retry(Some(delay)), cause: None }
    }

    /// The message goes to the dead letters of the subscription.
    pub fn dead_letter() -> Self {
        Self { verdict: Verdict::DeadLetter, cause: None }
    }

    /// The message is delivered again at once, also to other consumers; the attempt does not count.
    pub fn release() -> Self {
        Self { verdict: Verdict::Release, cause: None }
    }

    /// Adds the cause, for [`WorkerPoolBuilder::on_failure`](super::WorkerPoolBuilder::on_failure).
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

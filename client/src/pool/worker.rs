//! One worker: it receives a delivery, calls the handler and settles, without waiting for the confirmation.

use std::{collections::VecDeque, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::{
    handler::{Handler, HandlerError, Verdict},
    report::{Counts, count},
};
use crate::{
    consumer::{ConsumeError, Consumer, Delivery, SettleError, Settlement, Settling},
    error::{BoxError, ErrorReason},
};

/// Settlements of a worker that may be unconfirmed; more would only use memory.
const MAX_SETTLING: usize = 1024;

/// A delivery that was not handled, for [`WorkerPoolBuilder::on_failure`](super::WorkerPoolBuilder::on_failure).
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedDelivery<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// The failure.
    pub kind: FailureKind,
    /// How the pool settles it.
    pub settlement: Settlement,
    /// The error of the handler, if it returned one. It may quote the payload.
    pub cause: Option<&'a BoxError>,
}

/// The reason for which a delivery was not handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler returned an error.
    Failed,
    /// The handler panicked.
    Panicked,
    /// The handler ran longer than [`WorkerPoolBuilder::handler_timeout`](super::WorkerPoolBuilder::handler_timeout).
    TimedOut,
    /// The lease was lost, and the handler was cancelled.
    LeaseLost,
}

pub(super) type OnFailure = Arc<dyn Fn(&FailedDelivery<'_>) + Send + Sync>;

/// How a pool handles deliveries.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) first_delay: Duration,
    pub(super) longest_delay: Duration,
    pub(super) handler_timeout: Option<Duration>,
    pub(super) cancel_on_lease_lost: bool,
    pub(super) on_failure: Option<OnFailure>,
}

/// How a call of the handler ended.
enum HandlerEnd {
    Returned(Result<(), HandlerError>),
    Failed(FailureKind),
}

/// Counts a delivery as released if the worker is dropped before it settles.
struct ReleaseCounter<'a>(Option<&'a Counts>);

/// Handles deliveries until the consumer returns no more, and then waits for all confirmations.
pub(super) async fn work<H: Handler>(
    consumer: &Consumer,
    handler: &H,
    rules: &Rules,
    counts: &Counts,
) -> Result<(), ConsumeError> {
    let mut settling: VecDeque<Settling> = VecDeque::new();
    let ended = loop {
        match consumer.next().await {
            Ok(Some(delivery)) => {
                settling.push_back(handle(Arc::new(delivery), handler, rules, counts).await)
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        while let Some(oldest) = settling.front_mut() {
            let answer = match oldest.now_or_never() {
                Some(answer) => answer,
                None if settling.len() < MAX_SETTLING => break,
                None => oldest_answer(&mut settling).await,
            };
            settling.pop_front();
            count_answer(&answer, counts);
        }
    };
    for settling in settling {
        count_answer(&settling.await, counts);
    }
    ended
}

async fn oldest_answer(settling: &mut VecDeque<Settling>) -> Result<(), SettleError> {
    match settling.front_mut() {
        Some(oldest) => oldest.await,
        None => Ok(()),
    }
}

async fn handle<H: Handler>(
    delivery: Arc<Delivery>,
    handler: &H,
    rules: &Rules,
    counts: &Counts,
) -> Settling {
    let unfinished = ReleaseCounter(Some(counts));
    let span = delivery.span();
    let end = run(&delivery, handler, rules).instrument(span.clone()).await;
    unfinished.done();
    let (kind, error) = match end {
        HandlerEnd::Returned(Ok(())) => {
            count(&counts.acked);
            return delivery.settle_shared(Settlement::Ack);
        }
        HandlerEnd::Returned(Err(error)) => (FailureKind::Failed, error),
        HandlerEnd::Failed(FailureKind::LeaseLost) => (FailureKind::LeaseLost, HandlerError::release()),
        HandlerEnd::Failed(kind) => (kind, HandlerError::retry()),
    };
    let settlement = match error.verdict {
        Verdict::Retry(delay) => {
            count(&counts.retried);
            Settlement::Nack { delay: delay.unwrap_or_else(|| rules.delay(delivery.attempt())) }
        }
        Verdict::DeadLetter => {
            count(&counts.dead_lettered);
            Settlement::DeadLetter
        }
        Verdict::Release => {
            count(&counts.released);
            Settlement::Release
        }
    };
    match kind {
        FailureKind::Panicked => count(&counts.panicked),
        FailureKind::TimedOut => count(&counts.timed_out),
        FailureKind::Failed | FailureKind::LeaseLost => {}
    }
    span.record("otel.status_code", "ERROR");
    span.in_scope(|| {
        tracing::debug!(message_id = delivery.message_id(), ?kind, ?settlement, "a delivery was not handled");
    });
    if let Some(on_failure) = &rules.on_failure {
        let failed = FailedDelivery { delivery: &delivery, kind, settlement, cause: error.cause.as_ref() };
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| on_failure(&failed)));
        if called.is_err() {
            tracing::warn!("the pool's `on_failure` panicked");
        }
    }
    delivery.settle_shared(settlement)
}

async fn run<H: Handler>(delivery: &Arc<Delivery>, handler: &H, rules: &Rules) -> HandlerEnd {
    // The pool uses no state of the handler after a panic.
    let work = AssertUnwindSafe(async { handler.handle(Arc::clone(delivery)).await }).catch_unwind();
    let bounded = async {
        match rules.handler_timeout {
            None => Ok(work.await),
            Some(limit) => timeout(limit, work).await,
        }
    };
    let ended = tokio::select! {
        biased;
        ended = bounded => ended,
        () = delivery.lease_lost(), if rules.cancel_on_lease_lost => {
            return HandlerEnd::Failed(FailureKind::LeaseLost);
        }
    };
    match ended {
        Ok(Ok(returned)) => HandlerEnd::Returned(returned),
        Ok(Err(_)) => HandlerEnd::Failed(FailureKind::Panicked),
        Err(_) => HandlerEnd::Failed(FailureKind::TimedOut),
    }
}

fn count_answer(answer: &Result<(), SettleError>, counts: &Counts) {
    match answer {
        Ok(()) => {}
        Err(error) if error.error_reason() == Some(ErrorReason::MessagePurged) => {
            count(&counts.purged);
            tracing::debug!(%error, "a message was purged before it was settled");
        }
        Err(error) => {
            count(&counts.unconfirmed);
            tracing::warn!(%error, "a settlement was not confirmed");
        }
    }
}

impl Rules {
    /// The delay doubles with every attempt. A random part of up to a half is subtracted, so that messages that failed
    /// together are not retried together.
    fn delay(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let whole = self.first_delay.saturating_mul(1 << doublings).min(self.longest_delay);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(300),
            handler_timeout: None,
            cancel_on_lease_lost: false,
            on_failure: None,
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("first_delay", &self.first_delay)
            .field("longest_delay", &self.longest_delay)
            .field("handler_timeout", &self.handler_timeout)
            .field("cancel_on_lease_lost", &self.cancel_on_lease_lost)
            .finish_non_exhaustive()
    }
}

impl ReleaseCounter<'_> {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for ReleaseCounter<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.0 {
            count(&counts.released);
        }
    }
}

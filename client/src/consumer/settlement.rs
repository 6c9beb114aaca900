use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use super::SettleError;

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// Done with it: it is never delivered again to this subscription.
    Ack,
    /// Failed: deliver it again. It counts as an attempt.
    Nack {
        /// Not before this has passed: 0 to 30 days.
        delay: Duration,
    },
    /// Not tried: deliver it again. It does not count as an attempt.
    Release,
    /// Hopeless: to the subscription's dead letters.
    DeadLetter,
}

/// The server's confirmation of a settlement, to be awaited. Dropping it only forgoes the confirmation: the settlement
/// is on its way, together with others.
#[derive(Debug)]
#[must_use = "the settlement is on its way; await this to know that it is durable, or drop it"]
pub struct Settling(pub(super) oneshot::Receiver<Result<(), SettleError>>);

/// The server's confirmations of many settlements, to be awaited: one result for each, in order.
#[derive(Debug)]
#[must_use = "the settlements are on their way; await this to know that they are durable, or drop it"]
pub struct SettlingAll {
    waiting: std::vec::IntoIter<Settling>,
    next: Option<Settling>,
    results: Vec<Result<(), SettleError>>,
}

impl SettlingAll {
    pub(super) fn new(settling: Vec<Settling>) -> Self {
        let results = Vec::with_capacity(settling.len());
        Self { waiting: settling.into_iter(), next: None, results }
    }
}

impl Future for Settling {
    type Output = Result<(), SettleError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(SettleError::Closed)))
    }
}

impl Future for SettlingAll {
    type Output = Vec<Result<(), SettleError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = &mut *self;
            if this.next.is_none() {
                this.next = this.waiting.next();
            }
            let Some(next) = &mut this.next else {
                return Poll::Ready(std::mem::take(&mut this.results));
            };
            let Poll::Ready(result) = Pin::new(next).poll(cx) else { return Poll::Pending };
            this.results.push(result);
            this.next = None;
        }
    }
}

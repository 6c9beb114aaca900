use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{SettleError, command::SettleOutcome};
use crate::answer_group::{AnswerGroup, AnswerPart};

/// How a delivery is settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// The work is done: the subscription never delivers the message again.
    Ack,
    /// The work failed: the message is delivered again, and the attempt counts.
    Nack {
        /// How long the message waits, at least: 0 to 30 days.
        delay: Duration,
    },
    /// The work was not tried: the message is delivered again, and the attempt does not count.
    Release,
    /// The message goes to the dead letters of the subscription.
    DeadLetter,
}

/// Resolves when the settlement is on the server's disk, or to the error. Dropping it does not cancel the settlement.
#[derive(Debug)]
#[must_use = "the settlement is on its way; await this to know that it is durable, or drop it"]
pub struct Settling(pub(super) oneshot::Receiver<SettleOutcome>);

/// Resolves when all settlements are on the server's disk, to one result for each, in order. Dropping it does not
/// cancel them.
#[derive(Debug)]
#[must_use = "the settlements are on their way; await this to know that they are durable, or drop it"]
pub struct SettlingAll(AnswerGroup<SettleOutcome>);

impl SettlingAll {
    /// Returns the future of `count` confirmations, and where to send each.
    pub(super) fn new(count: usize) -> (Self, impl Iterator<Item = AnswerPart<SettleOutcome>>) {
        let (outcomes, parts) = AnswerGroup::new(count);
        (Self(outcomes), parts)
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
        let outcomes = Pin::new(&mut self.0).poll(cx);
        outcomes.map(|all| all.into_iter().map(|it| it.unwrap_or(Err(SettleError::Closed))).collect())
    }
}

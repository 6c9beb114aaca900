use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{SettleError, command::SettleOutcome};
use crate::answer_group::{AnswerGroup, AnswerPart};

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
pub struct Settling(pub(super) oneshot::Receiver<SettleOutcome>);

/// The server's confirmations of many settlements, to be awaited: one result for each, in order.
#[derive(Debug)]
#[must_use = "the settlements are on their way; await this to know that they are durable, or drop it"]
pub struct SettlingAll(AnswerGroup<SettleOutcome>);

impl SettlingAll {
    /// Of so many, and who is to be told of each.
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

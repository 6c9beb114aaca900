use std::{
    collections::HashMap,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use posthouse_proto::v1::{self, DeadLetterReason, SettleAction};
use tokio::sync::{mpsc, oneshot};

use super::{
    SettleError,
    command::{Command, Extend, Settle},
};
use crate::time;

/// A message that is leased to this consumer, and the right to settle it. Settle it with one of [`Delivery::ack`],
/// [`Delivery::nack`], [`Delivery::release`] and [`Delivery::dead_letter`]; dropping it releases it.
///
/// The settlement is handed over at once, when the method is called; what is returned resolves when the server has it
/// on disk, and may be dropped.
#[derive(Debug)]
#[must_use = "dropping a delivery releases it, to be delivered again"]
pub struct Delivery {
    token: Bytes,
    message: v1::Message,
    attempt: u32,
    lease_deadline: SystemTime,
    commands: mpsc::UnboundedSender<Command>,
    settled: bool,
}

/// Where a message in a dead-letter queue came from, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterOrigin {
    /// Why it was given up.
    pub reason: DeadLetterCause,
    /// The full resource name of the queue it was published to.
    pub queue: String,
    /// The subscription that gave it up.
    pub subscription: String,
    /// Its id there.
    pub message_id: String,
    /// Its position there.
    pub sequence: u64,
    /// When it was published there.
    pub publish_time: SystemTime,
    /// Deliveries that failed there.
    pub attempts: u32,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeadLetterCause {
    /// It failed as often as its subscription allows.
    MaxAttempts,
    /// A consumer settled it so.
    Consumer,
    /// A reason that this version does not know.
    Unknown,
}

/// The server's confirmation of a settlement, to be awaited. Dropping it only forgoes the confirmation.
#[derive(Debug)]
#[must_use = "the settlement is on its way; await this to know that it is durable, or drop it"]
pub struct Settling(oneshot::Receiver<Result<(), SettleError>>);

impl Delivery {
    pub(super) fn new(delivery: v1::Delivery, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            token: delivery.token,
            message: delivery.message.unwrap_or_default(),
            attempt: delivery.attempt,
            lease_deadline: time::moment(delivery.lease_deadline),
            commands,
            settled: false,
        }
    }

    /// The bytes that were published.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Opaque, stable for the life of the message.
    pub fn message_id(&self) -> &str {
        &self.message.id
    }

    /// The message's position in its queue, from 1.
    pub fn sequence(&self) -> u64 {
        self.message.sequence
    }

    /// What the producer attached.
    pub fn attributes(&self) -> &HashMap<String, String> {
        &self.message.attributes
    }

    /// When the server accepted the message.
    pub fn publish_time(&self) -> SystemTime {
        time::moment(self.message.publish_time)
    }

    /// 1 for the first; counts the deliveries that failed, plus this one.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the lease ends by the server's clock, unless it is extended or settled.
    pub fn lease_deadline(&self) -> SystemTime {
        self.lease_deadline
    }

    /// Where the message came from, if this is a dead-letter queue.
    pub fn dead_letter_origin(&self) -> Option<DeadLetterOrigin> {
        let origin = self.message.dead_letter.as_ref()?;
        Some(DeadLetterOrigin {
            reason: match origin.reason() {
                DeadLetterReason::MaxAttempts => DeadLetterCause::MaxAttempts,
                DeadLetterReason::Consumer => DeadLetterCause::Consumer,
                DeadLetterReason::Unspecified => DeadLetterCause::Unknown,
            },
            queue: origin.source_queue.clone(),
            subscription: origin.source_subscription.clone(),
            message_id: origin.source_message_id.clone(),
            sequence: origin.source_sequence,
            publish_time: time::moment(origin.source_publish_time),
            attempts: origin.attempts,
        })
    }

    /// Done with it: it is never delivered again to this subscription.
    pub fn ack(self) -> Settling {
        self.settle(SettleAction::Ack, None)
    }

    /// Failed: deliver it again, not before `delay` (0 to 30 days) has passed. It counts as an attempt.
    pub fn nack(self, delay: Duration) -> Settling {
        self.settle(SettleAction::Nack, Some(delay))
    }

    /// Not tried: deliver it again. It does not count as an attempt.
    pub fn release(self) -> Settling {
        self.settle(SettleAction::Release, None)
    }

    /// Hopeless: to the subscription's dead letters.
    pub fn dead_letter(self) -> Settling {
        self.settle(SettleAction::DeadLetter, None)
    }

    /// Moves the lease's deadline to `duration` (1 s to 12 h) from now, if that is later, and returns it.
    pub async fn extend(&mut self, duration: Duration) -> Result<SystemTime, SettleError> {
        let (done, answer) = oneshot::channel();
        let extend = Extend { token: self.token.clone(), duration, done: Some(done) };
        self.commands.send(Command::Extend(extend)).map_err(|_| SettleError::Closed)?;
        self.lease_deadline = answer.await.unwrap_or(Err(SettleError::Closed))?;
        Ok(self.lease_deadline)
    }

    fn settle(mut self, action: SettleAction, delay: Option<Duration>) -> Settling {
        let (done, answer) = oneshot::channel();
        self.hand_over(action, delay, Some(done));
        Settling(answer)
    }

    fn hand_over(
        &mut self,
        action: SettleAction,
        delay: Option<Duration>,
        done: Option<oneshot::Sender<Result<(), SettleError>>>,
    ) {
        self.settled = true;
        let settlement = v1::Settlement {
            token: mem::take(&mut self.token),
            action: action.into(),
            delay: delay.map(time::wire),
        };
        // If the consumer is gone the sender of `done` goes with the command, and `Settling` tells it.
        let _ = self.commands.send(Command::Settle(Settle { settlement, done }));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            self.hand_over(SettleAction::Release, None, None);
        }
    }
}

impl Future for Settling {
    type Output = Result<(), SettleError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(SettleError::Closed)))
    }
}

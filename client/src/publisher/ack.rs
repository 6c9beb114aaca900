use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::PublishError;

/// A message that is on the server's disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// The id of the message, if the server returned it. It does for the first message of a batch, and for all with
    /// [`PublisherBuilder::return_message_ids`](super::PublisherBuilder::return_message_ids).
    pub message_id: Option<String>,
    /// The position in the queue; `None` only for a message that an earlier attempt stored long ago.
    pub sequence: Option<u64>,
    /// An earlier attempt of this publisher had stored the message. It is in the queue once.
    pub duplicate: bool,
}

/// Resolves to the server's answer for one message. The publisher has the message already; dropping this only discards
/// the answer.
#[derive(Debug)]
#[must_use = "await it to know that the message is stored, or drop it and flush later"]
pub struct PublishAck {
    answer: oneshot::Receiver<Result<Stored, PublishError>>,
    deadline: Option<Instant>,
    /// Created at the first poll that has to wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl PublishAck {
    pub(super) fn new(
        answer: oneshot::Receiver<Result<Stored, PublishError>>,
        deadline: Option<Instant>,
    ) -> Self {
        Self { answer, deadline, alarm: None }
    }
}

impl Future for PublishAck {
    type Output = Result<Stored, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(answer) = Pin::new(&mut this.answer).poll(cx) {
            return Poll::Ready(answer.unwrap_or(Err(PublishError::Closed)));
        }
        let Some(deadline) = this.deadline else { return Poll::Pending };
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        alarm.as_mut().poll(cx).map(|()| Err(PublishError::TimedOut))
    }
}

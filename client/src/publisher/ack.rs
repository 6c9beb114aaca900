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
    /// Its id, if the server told it: it does for the first of a batch, and for every message with
    /// [`PublisherBuilder::return_message_ids`](super::PublisherBuilder::return_message_ids).
    pub message_id: Option<String>,
    /// Its position in the queue. Absent only for a message that an early attempt had stored long ago.
    pub sequence: Option<u64>,
    /// An earlier attempt of this publisher had stored it; it stands in the queue once.
    pub duplicate: bool,
}

/// The server's answer to one message, to be awaited. The message was handed over when this was made: dropping this
/// only forgoes the answer.
#[derive(Debug)]
#[must_use = "await it to know that the message is stored, or drop it and flush later"]
pub struct PublishAck {
    answer: oneshot::Receiver<Result<Stored, PublishError>>,
    deadline: Option<Instant>,
    /// Made when there is somebody to wake.
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

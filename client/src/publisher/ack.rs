use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::{PublishError, batch::Outcome};
use crate::together::Together;

/// A message that is on the server's disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its id, if the server told it: it does for the first of a batch, and for every message with
    /// [`PublisherBuilder::tell_message_ids`](super::PublisherBuilder::tell_message_ids).
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

/// The server's answers to many messages, to be awaited: one for each, in order.
#[derive(Debug)]
#[must_use = "await it to know that the messages are stored, or drop it and flush later"]
pub struct PublishAcks {
    answers: Together<Outcome>,
    /// The latest of the messages'.
    deadline: Option<Instant>,
    /// Made when there is somebody to wake.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl PublishAcks {
    pub(super) fn new(answers: Together<Outcome>, deadline: Option<Instant>) -> Self {
        Self { answers, deadline, alarm: None }
    }
}

impl Future for PublishAcks {
    type Output = Vec<Result<Stored, PublishError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let told = |answers: Vec<Option<Outcome>>, none: PublishError| {
            answers.into_iter().map(|it| it.unwrap_or_else(|| Err(none.clone()))).collect()
        };
        if let Poll::Ready(answers) = Pin::new(&mut this.answers).poll(cx) {
            return Poll::Ready(told(answers, PublishError::Closed));
        }
        let Some(deadline) = this.deadline else { return Poll::Pending };
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        alarm.as_mut().poll(cx).map(|()| told(this.answers.take(), PublishError::TimedOut))
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

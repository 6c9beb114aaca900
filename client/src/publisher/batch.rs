use std::mem;

use posthouse_proto::v1::{self, publish_result, publish_stream_response};
use tokio::{sync::oneshot, time::Instant};

use super::{PublishError, Stored};
use crate::{answer_group::Responder, error::Refusal};

pub(super) type PublishOutcome = Result<Stored, PublishError>;

/// A command for the publisher's task. The channel is unbounded; the `SendBuffer` bounds the messages in it.
#[derive(Debug)]
pub(super) enum PublishCommand {
    Message(AcceptedMessage),
    /// Messages that [`Publisher::publish_many`](super::Publisher::publish_many) passes on as one group.
    Messages(Vec<AcceptedMessage>),
    /// Report a message that was not accepted to the next flush.
    Failed(PublishError),
    /// Close the open batch, without lingering.
    Send,
    Flush(oneshot::Sender<Result<(), PublishError>>),
    Close(oneshot::Sender<Result<(), PublishError>>),
}

/// A message with its space in the send buffer.
#[derive(Debug)]
pub(super) struct AcceptedMessage {
    pub(super) message: v1::NewMessage,
    pub(super) responder: Responder<PublishOutcome>,
    pub(super) bytes: usize,
    pub(super) reserved: usize,
    pub(super) deadline: Option<Instant>,
}

/// Space in the send buffer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Reserved {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

/// Where the answer to one message goes.
#[derive(Debug)]
pub(super) struct Waiter {
    responder: Responder<PublishOutcome>,
    reserved: usize,
    deadline: Option<Instant>,
}

/// Messages that are sent and answered as one. After the first attempt to send it, a batch always has the same
/// messages, so that the server recognises it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<v1::NewMessage>,
    waiters: Vec<Waiter>,
    /// The largest size on the wire, in bytes.
    pub(super) bytes: usize,
    /// Bytes that it uses of the send buffer.
    reserved: usize,
    /// The earliest deadline of its messages.
    expires: Option<Instant>,
    /// When its first message was added.
    pub(super) since: Option<Instant>,
}

impl Batch {
    pub(super) fn push(&mut self, accepted: AcceptedMessage) {
        self.since.get_or_insert_with(Instant::now);
        self.messages.push(accepted.message);
        self.waiters.push(Waiter {
            responder: accepted.responder,
            reserved: accepted.reserved,
            deadline: accepted.deadline,
        });
        self.bytes += accepted.bytes;
        self.reserved += accepted.reserved;
        if let Some(deadline) = accepted.deadline {
            self.expires = Some(self.expires.map_or(deadline, |expires| expires.min(deadline)));
        }
    }

    /// The space that it uses in the send buffer.
    pub(super) fn reserved(&self) -> Reserved {
        Reserved { bytes: self.reserved, messages: self.messages.len() }
    }

    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Drops the messages whose deadline has passed, and returns their space. Only for a batch that was never sent.
    pub(super) fn expire(&mut self, now: Instant) -> Reserved {
        let before = self.reserved();
        let messages = mem::take(&mut self.messages);
        let waiters = mem::take(&mut self.waiters);
        (self.reserved, self.expires) = (0, None);
        for (message, waiter) in messages.into_iter().zip(waiters) {
            if waiter.deadline.is_some_and(|deadline| deadline <= now) {
                waiter.responder.send(Err(PublishError::Expired));
                continue;
            }
            self.reserved += waiter.reserved;
            self.expires = [self.expires, waiter.deadline].into_iter().flatten().min();
            self.messages.push(message);
            self.waiters.push(waiter);
        }
        let after = self.reserved();
        Reserved { bytes: before.bytes - after.bytes, messages: before.messages - after.messages }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Fails every message with this error.
    pub(super) fn fail(self, error: &PublishError) {
        for waiter in self.waiters {
            waiter.responder.send(Err(error.clone()));
        }
    }

    /// Answers every message, and returns the first failure. `Err` if the results do not match the messages.
    pub(super) fn answer(
        self,
        results: publish_stream_response::Results,
    ) -> Result<Option<PublishError>, Box<Self>> {
        if let Some(all) = results.all_stored {
            if all.count as usize != self.waiters.len() {
                return Err(Box::new(self));
            }
            let mut id = Some(all.first_message_id).filter(|id| !id.is_empty());
            for (sequence, waiter) in (all.first_sequence..).zip(self.waiters) {
                let stored = Stored { message_id: id.take(), sequence: Some(sequence), duplicate: false };
                waiter.responder.send(Ok(stored));
            }
            return Ok(None);
        }
        if results.results.len() != self.waiters.len() {
            return Err(Box::new(self));
        }
        let mut first_failure = None;
        for (result, waiter) in results.results.into_iter().zip(self.waiters) {
            let outcome = outcome(result);
            if let (None, Err(error)) = (&first_failure, &outcome) {
                first_failure = Some(error.clone());
            }
            waiter.responder.send(outcome);
        }
        Ok(first_failure)
    }
}

fn outcome(result: v1::PublishResult) -> Result<Stored, PublishError> {
    let stored = |message_id: String, sequence: u64, duplicate| Stored {
        message_id: Some(message_id).filter(|id| !id.is_empty()),
        sequence: Some(sequence).filter(|sequence| *sequence != 0),
        duplicate,
    };
    match result.result {
        Some(publish_result::Result::Stored(it)) => Ok(stored(it.message_id, it.sequence, false)),
        Some(publish_result::Result::Duplicate(it)) => Ok(stored(it.message_id, it.sequence, true)),
        Some(publish_result::Result::Error(status)) => Err(PublishError::Refused(Refusal::from(&status))),
        None => Err(PublishError::Stopped(crate::Error::Protocol("a message's result is empty"))),
    }
}

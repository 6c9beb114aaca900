//! Publishing many messages in one call.

use posthouse_proto::v1;
use tokio::time::{Instant, timeout_at};

use super::{
    PublishAcks, PublishError, Publisher, Stored,
    acks::LatestDeadline,
    batch::{AcceptedMessage, PublishCommand, PublishOutcome},
    settings::PublisherSettings,
};
use crate::{
    answer_group::{AnswerGroup, Responder},
    message::NewMessage,
};

impl Publisher {
    /// Publishes many messages, which costs less than one call for each. Waits while the buffer has no space for some
    /// of them. The future that is returned resolves when all are answered. The failure of one message does not stop
    /// the others; a flush returns the first failure. If this call is dropped before it ends, some messages may be
    /// published. Time limits count from this call; see [`PublishAcks`] for how they end it.
    pub async fn publish_many<I>(&self, messages: I) -> PublishAcks
    where
        I: IntoIterator,
        I::Item: Into<NewMessage>,
    {
        let begun = Instant::now();
        let mut messages = messages.into_iter().map(Into::<NewMessage>::into);
        let (mut acks, mut left) = (PublishAcks::default(), None);
        loop {
            let mut group = MessageGroup::default();
            while let Some(mut message) = left.take().or_else(|| messages.next()) {
                match self.prepare(&mut message) {
                    Ok(bytes) if group.fits(bytes, self.0.limit) => {
                        let deadline = self.deadline(&message, begun);
                        acks.deadlines.add(deadline);
                        group.push(message, bytes, deadline);
                    }
                    Ok(_) => {
                        left = Some(message);
                        break;
                    }
                    Err(error) => group.messages.push(Err(error)),
                }
            }
            if group.messages.is_empty() {
                return acks;
            }
            acks.groups.push_back(self.hand_over_group(group).await);
        }
    }

    /// Publishes messages, without lingering after the last, and waits for one answer for each, in order. The failure
    /// of one message does not stop the others. See [`PublishAcks`] for time limits.
    pub async fn publish_all<I>(&self, messages: I) -> Vec<Result<Stored, PublishError>>
    where
        I: IntoIterator,
        I::Item: Into<NewMessage>,
    {
        let acks = self.publish_many(messages).await;
        // If the publisher has ended, the acks return the error.
        let _ = self.0.commands.send(PublishCommand::Send);
        acks.await
    }

    async fn hand_over_group(&self, group: MessageGroup) -> AnswerGroup<PublishOutcome> {
        let (answers, parts) = AnswerGroup::new(group.messages.len());
        let mut accepted = Vec::with_capacity(group.count);
        let mut deadlines = LatestDeadline::default();
        for (message, part) in group.messages.into_iter().zip(parts) {
            let responder = Responder::Group(part);
            match message {
                Ok(Message { message, bytes, deadline }) => {
                    deadlines.add(deadline);
                    accepted.push(AcceptedMessage { message, responder, bytes, reserved: bytes, deadline });
                }
                Err(error) => self.refuse(responder, error),
            }
        }
        if accepted.is_empty() {
            return answers;
        }
        // The latest deadline counts here. Messages with an earlier one are dropped before they are sent.
        let space = self.0.buffer.reserve(u32::try_from(group.count).unwrap_or(u32::MAX), group.bytes);
        let reserved = match deadlines.latest() {
            None => space.await,
            Some(until) => timeout_at(until, space).await.unwrap_or(Err(PublishError::Expired)),
        };
        match reserved {
            Ok(reserved) => {
                if let [one] = &mut accepted[..] {
                    one.reserved = reserved;
                }
                if let Err(unsent) = self.0.commands.send(PublishCommand::Messages(accepted))
                    && let PublishCommand::Messages(unsent) = unsent.0
                {
                    unsent.into_iter().for_each(|it| it.responder.send(Err(self.0.buffer.end())));
                }
            }
            Err(error) => accepted.into_iter().for_each(|it| self.refuse(it.responder, error.clone())),
        }
        answers
    }

    /// Answers a message that was not accepted with an error, and reports the error to the next flush.
    fn refuse(&self, responder: Responder<PublishOutcome>, error: PublishError) {
        // If the publisher has ended, the flush fails with that error.
        let _ = self.0.commands.send(PublishCommand::Failed(error.clone()));
        responder.send(Err(error));
    }
}

/// Limits of messages that are passed to the task as one group: the size of a batch, and what the buffer holds beside
/// the open batch. A larger group would wait for space that the open batch uses, while the batch waits for more
/// messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandOverLimit {
    messages: usize,
    bytes: usize,
}

impl HandOverLimit {
    pub(super) fn new(settings: &PublisherSettings) -> Self {
        let limit = |batch: usize, buffer: usize| batch.min(buffer.saturating_sub(batch)).max(1);
        Self {
            messages: limit(settings.batch_messages, settings.max_buffered_messages),
            bytes: limit(settings.batch_bytes, settings.max_buffered_bytes),
        }
    }
}

/// Messages that are passed to the task as one group.
#[derive(Default)]
struct MessageGroup {
    /// Each message, or the reason for which it cannot be published.
    messages: Vec<Result<Message, PublishError>>,
    /// The number of messages that can be published.
    count: usize,
    bytes: usize,
}

struct Message {
    message: v1::NewMessage,
    bytes: usize,
    deadline: Option<Instant>,
}

impl MessageGroup {
    /// Whether another message fits. The first always does.
    fn fits(&self, bytes: usize, limit: HandOverLimit) -> bool {
        self.count == 0 || (self.count < limit.messages && self.bytes + bytes <= limit.bytes)
    }

    fn push(&mut self, message: NewMessage, bytes: usize, deadline: Option<Instant>) {
        self.messages.push(Ok(Message { message: message.into_wire(), bytes, deadline }));
        self.count += 1;
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HandOverLimit, PublisherSettings};

    #[test]
    fn a_group_leaves_space_in_the_buffer_for_the_open_batch() {
        let limit = |batch: usize, buffer: usize| {
            let settings = PublisherSettings {
                batch_messages: batch,
                batch_bytes: 1_000,
                linger: Duration::ZERO,
                max_buffered_bytes: 1_000,
                max_buffered_messages: buffer,
                max_in_flight_batches: 1,
                give_up_after: Duration::ZERO,
            };
            HandOverLimit::new(&settings)
        };
        assert_eq!([limit(512, 65_536), limit(40, 50), limit(50, 50)].map(|it| it.messages), [512, 10, 1]);
        assert_eq!(limit(1, 1).bytes, 1);
    }
}

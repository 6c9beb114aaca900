//! Many messages handed over together.

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
    /// Hands many messages over, which costs less than to hand over each; waits for room for some of them at a time.
    /// What is returned resolves when all have their answer. A failure of one does not keep the others from being
    /// published; a flush tells the first. If this future is dropped before it is done, some of them may be published.
    /// Timeouts count from this call; see [`PublishAcks`] for when they are told.
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

    /// Publishes messages, without lingering after the last, and waits for their answers: one for each, in order.
    /// A failure of one does not keep the others from being published. For timeouts see [`PublishAcks`].
    pub async fn publish_all<I>(&self, messages: I) -> Vec<Result<Stored, PublishError>>
    where
        I: IntoIterator,
        I::Item: Into<NewMessage>,
    {
        let acks = self.publish_many(messages).await;
        // If the publisher has ended, the acks tell.
        let _ = self.0.commands.send(PublishCommand::Send);
        acks.await
    }

    async fn hand_over_group(&self, group: MessageGroup) -> AnswerGroup<PublishOutcome> {
        let (answers, parts) = AnswerGroup::new(group.messages.len());
        let mut accepted = Vec::with_capacity(group.count);
        let mut deadlines = LatestDeadline::default();
        for (message, part) in group.messages.into_iter().zip(parts) {
            let answer = Responder::Group(part);
            match message {
                Ok(Message { message, bytes, deadline }) => {
                    deadlines.add(deadline);
                    accepted.push(AcceptedMessage { message, answer, bytes, reserved: bytes, deadline });
                }
                Err(error) => self.refuse(answer, error),
            }
        }
        if accepted.is_empty() {
            return answers;
        }
        // Those whose deadline passes before that are dropped before they are sent.
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
                    unsent.into_iter().for_each(|it| it.answer.send(Err(self.0.buffer.end())));
                }
            }
            Err(error) => accepted.into_iter().for_each(|it| self.refuse(it.answer, error.clone())),
        }
        answers
    }

    /// Tells a failure of a message that was not handed over, and has the next flush tell it too.
    fn refuse(&self, answer: Responder<PublishOutcome>, error: PublishError) {
        // If the publisher has ended, a flush fails for that.
        let _ = self.0.commands.send(PublishCommand::Failed(error.clone()));
        answer.send(Err(error));
    }
}

/// What is handed over together at most: a batch, and no more than has room beside a batch that is being gathered, which
/// would otherwise wait for what waits for it.
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

/// What is about to be handed over together.
#[derive(Default)]
struct MessageGroup {
    /// Or why one cannot be published.
    messages: Vec<Result<Message, PublishError>>,
    /// Those that can.
    count: usize,
    bytes: usize,
}

struct Message {
    message: v1::NewMessage,
    bytes: usize,
    deadline: Option<Instant>,
}

impl MessageGroup {
    /// One is always reserved, however large.
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
    fn what_waits_for_room_leaves_room_for_the_batch_before_it() {
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

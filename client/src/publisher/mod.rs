//! Publishing: many batches on one stream, each stored once.

mod ack;
mod acks;
mod batch;
mod builder;
mod driver;
mod error;
mod many;
mod send_buffer;
mod settings;
mod stream;
mod window;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

pub use ack::{PublishAck, Stored};
pub use acks::PublishAcks;
pub use builder::PublisherBuilder;
pub use error::{PublishError, TryPublishError};

use self::{
    batch::{AcceptedMessage, PublishCommand},
    many::HandOverLimit,
    send_buffer::SendBuffer,
};
use crate::{answer_group::Responder, message::NewMessage};

/// Publishes to one queue, over a connection of its own.
///
/// Messages are gathered into batches, many of which are under way at once, and stored in the order of publishing.
/// When the connection breaks, the publisher opens another and sends what was not answered again; the server
/// recognises what it has, so that nothing is stored twice while this publisher lives and the server remembers it
/// (seven idle days).
///
/// What has no answer yet is bounded in bytes and in messages: [`Publisher::publish`] waits for room,
/// [`Publisher::try_publish`] says that there is none.
///
/// It is a handle: clones publish through the same stream. When the last one is dropped, what was published is still
/// sent, as long as the runtime lives, and a warning is logged if some of it was not confirmed; [`Publisher::close`]
/// waits for it.
///
/// ```no_run
/// # async fn example(client: posthouse_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use posthouse_client::NewMessage;
///
/// let publisher = client.publisher("identity-cards/applications").open().await?;
/// let ack = publisher.publish(NewMessage::new("an application").attribute("kind", "renewal")).await?;
/// let stored = ack.await?;
/// println!("stored as {:?}", stored.sequence);
/// publisher.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher(Arc<Handle>);

struct Handle {
    commands: mpsc::UnboundedSender<PublishCommand>,
    buffer: Arc<SendBuffer>,
    queue: String,
    max_payload: usize,
    limit: HandOverLimit,
    message_timeout: Option<Duration>,
    task: AbortHandle,
}

impl Publisher {
    /// The queue's full resource name.
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// The largest payload that the queue takes.
    pub fn max_message_bytes(&self) -> usize {
        self.0.max_payload
    }

    /// How many messages were handed over and have no answer yet; those that wait for room may count too.
    pub fn unanswered(&self) -> usize {
        self.0.buffer.unanswered()
    }

    /// Hands a message over, after waiting for room in the buffer. What is returned resolves when the message is on
    /// the server's disk. If this future is dropped before it is done, the message is not published.
    pub async fn publish(&self, message: impl Into<NewMessage>) -> Result<PublishAck, PublishError> {
        let mut message = message.into();
        let bytes = self.prepare(&mut message)?;
        let deadline = self.deadline(&message, Instant::now());
        let space = self.0.buffer.reserve(1, bytes);
        let reserved = match deadline {
            None => space.await?,
            Some(deadline) => timeout_at(deadline, space).await.map_err(|_| PublishError::Expired)??,
        };
        self.hand_over(message, bytes, reserved, deadline)
    }

    /// Hands a message over if there is room in the buffer, and gives it back if there is not.
    pub fn try_publish(&self, message: impl Into<NewMessage>) -> Result<PublishAck, TryPublishError> {
        let mut message = message.into();
        let bytes = self.prepare(&mut message)?;
        let deadline = self.deadline(&message, Instant::now());
        match self.0.buffer.try_reserve(bytes)? {
            Some(reserved) => Ok(self.hand_over(message, bytes, reserved, deadline)?),
            None => Err(TryPublishError::Full(message)),
        }
    }

    /// Waits until everything that was published before has its answer, without lingering. Fails with the first
    /// failure of a message since the last flush, so that acks may be dropped.
    pub async fn flush(&self) -> Result<(), PublishError> {
        self.ask(PublishCommand::Flush).await
    }

    /// Flushes, and ends the publisher, also for its clones. This takes as long as the server does, and gives up when
    /// the publisher does; see [`PublisherBuilder::give_up_after`].
    pub async fn close(self) -> Result<(), PublishError> {
        self.ask(PublishCommand::Close).await
    }

    /// The same with a deadline. When it passes, the publisher is ended all the same: what has no answer by then may be
    /// stored or not, and its acks fail with [`PublishError::Closed`].
    pub async fn close_within(self, limit: Duration) -> Result<(), PublishError> {
        match timeout(limit, self.ask(PublishCommand::Close)).await {
            Ok(closed) => closed,
            Err(_) => {
                self.0.buffer.close(PublishError::Closed);
                self.0.task.abort();
                Err(PublishError::TimedOut)
            }
        }
    }

    fn prepare(&self, message: &mut NewMessage) -> Result<usize, PublishError> {
        let bytes = message.cost(self.0.max_payload)?;
        Ok(message.attach_trace(bytes))
    }

    fn deadline(&self, message: &NewMessage, begun: Instant) -> Option<Instant> {
        let limit = message.own_timeout().or(self.0.message_timeout)?;
        begun.checked_add(limit)
    }

    fn hand_over(
        &self,
        message: NewMessage,
        bytes: usize,
        reserved: usize,
        deadline: Option<Instant>,
    ) -> Result<PublishAck, PublishError> {
        let (answer, ack) = oneshot::channel();
        let (message, answer) = (message.into_wire(), Responder::One(answer));
        let accepted = AcceptedMessage { message, answer, bytes, reserved, deadline };
        self.0.commands.send(PublishCommand::Message(accepted)).map_err(|_| self.0.buffer.end())?;
        Ok(PublishAck::new(ack, deadline))
    }

    async fn ask(
        &self,
        item: impl FnOnce(oneshot::Sender<Result<(), PublishError>>) -> PublishCommand,
    ) -> Result<(), PublishError> {
        let (done, answer) = oneshot::channel();
        self.0.commands.send(item(done)).map_err(|_| self.0.buffer.end())?;
        answer.await.unwrap_or_else(|_| Err(self.0.buffer.end()))
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("queue", &self.0.queue)
            .field("unanswered", &self.unanswered())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let unanswered = self.buffer.unanswered();
        if unanswered > 0 && !self.buffer.has_ended() {
            tracing::warn!(
                queue = self.queue,
                unanswered,
                "a publisher was dropped before its messages were confirmed; call `close` or `flush` first"
            );
        }
    }
}

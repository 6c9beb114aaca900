//! Publishing: batches on one stream that reconnects by itself, each stored once.

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
/// Messages are gathered into batches, several of which are in flight at once, and stored in the order of publishing.
/// When the connection breaks, the publisher opens another and sends unanswered batches again. The server recognises
/// those that it has, so that nothing is stored twice while this publisher exists and the server remembers it (seven
/// idle days).
///
/// The bytes and number of unanswered messages are bounded: at the bound [`Publisher::publish`] waits, and
/// [`Publisher::try_publish`] returns the message.
///
/// A publisher is a handle: its clones use the same stream. After the last one is dropped, its messages are still sent
/// while the runtime lives, and a warning is logged if some were not confirmed; [`Publisher::close`] waits for them.
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
    /// The full resource name of the queue.
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// The largest payload that the queue accepts, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.0.max_payload
    }

    /// The number of unanswered messages; those that wait for space in the buffer may count.
    pub fn unanswered(&self) -> usize {
        self.0.buffer.unanswered()
    }

    /// Publishes a message; waits while the buffer is full. The ack that is returned resolves when the message is on
    /// the server's disk. If this call is dropped before it ends, the message is not published. Fails if the message is
    /// not valid, its time limit passes, or the publisher has ended.
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

    /// Publishes a message if the buffer has space for it, and returns it in [`TryPublishError::Full`] if not.
    pub fn try_publish(&self, message: impl Into<NewMessage>) -> Result<PublishAck, TryPublishError> {
        let mut message = message.into();
        let bytes = self.prepare(&mut message)?;
        let deadline = self.deadline(&message, Instant::now());
        match self.0.buffer.try_reserve(bytes)? {
            Some(reserved) => Ok(self.hand_over(message, bytes, reserved, deadline)?),
            None => Err(TryPublishError::Full(message)),
        }
    }

    /// Sends all messages without lingering, and waits until each is answered. Fails with the first failure of a
    /// message since the last flush, so that acks may be dropped.
    pub async fn flush(&self) -> Result<(), PublishError> {
        self.ask(PublishCommand::Flush).await
    }

    /// Flushes, and ends the publisher and its clones. This waits for the server, and fails when the publisher gives
    /// up; see [`PublisherBuilder::give_up_after`].
    pub async fn close(self) -> Result<(), PublishError> {
        self.ask(PublishCommand::Close).await
    }

    /// Closes the publisher as [`Publisher::close`] does, within a time limit. After it the publisher is ended all the
    /// same: unanswered messages may be stored or not, and their acks fail with [`PublishError::Closed`].
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
        let (sender, ack) = oneshot::channel();
        let (message, responder) = (message.into_wire(), Responder::One(sender));
        let accepted = AcceptedMessage { message, responder, bytes, reserved, deadline };
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

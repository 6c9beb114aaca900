//! Publishing: many batches on one stream, each stored once.

mod ack;
mod batch;
mod builder;
mod driver;
mod error;
mod room;
mod stream;
mod window;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use ack::{PublishAck, Stored};
pub use builder::PublisherBuilder;
pub use error::PublishError;

use self::{
    batch::{Accepted, Item},
    room::Room,
};
use crate::message::NewMessage;

/// Publishes to one queue, over a connection of its own.
///
/// Messages are gathered into batches, many of which are under way at once, and stored in the order of publishing.
/// When the connection breaks, the publisher opens another and sends what was not answered again; the server
/// recognises what it has, so that nothing is stored twice while this publisher lives.
///
/// It is a handle: clones publish through the same stream. When the last one is dropped, what was published is still
/// sent, as long as the runtime lives; [`Publisher::close`] waits for it.
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
#[derive(Clone, Debug)]
pub struct Publisher {
    items: mpsc::UnboundedSender<Item>,
    room: Arc<Room>,
    queue: Arc<str>,
    max_payload: usize,
}

impl Publisher {
    /// The queue's full resource name.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The largest payload that the queue takes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_payload
    }

    /// Hands a message over, after waiting for room in the buffer. What is returned resolves when the message is on
    /// the server's disk. If this future is dropped before it is done, the message is not published.
    pub async fn publish(&self, message: impl Into<NewMessage>) -> Result<PublishAck, PublishError> {
        let message = message.into();
        let bytes = message.cost(self.max_payload)?;
        let taken = self.room.take(bytes).await?;
        let (answer, ack) = oneshot::channel();
        let accepted = Accepted { message: message.into_wire(), answer, bytes, taken };
        self.items.send(Item::Message(accepted)).map_err(|_| self.room.end())?;
        Ok(PublishAck(ack))
    }

    /// Waits until everything that was published before has its answer, without lingering. Fails with the first
    /// failure of a message since the last flush, so that acks may be dropped.
    pub async fn flush(&self) -> Result<(), PublishError> {
        self.ask(Item::Flush).await
    }

    /// Flushes, and ends the publisher, also for its clones.
    pub async fn close(self) -> Result<(), PublishError> {
        self.ask(Item::Close).await
    }

    async fn ask(
        &self,
        item: impl FnOnce(oneshot::Sender<Result<(), PublishError>>) -> Item,
    ) -> Result<(), PublishError> {
        let (done, answer) = oneshot::channel();
        self.items.send(item(done)).map_err(|_| self.room.end())?;
        answer.await.unwrap_or_else(|_| Err(self.room.end()))
    }
}

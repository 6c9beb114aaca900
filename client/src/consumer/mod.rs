//! Consuming: deliveries that are guards, on one stream that comes back by itself.

mod builder;
mod command;
mod delivery;
mod driver;
mod error;
mod extensions;
mod inbox;
mod ledger;
mod settlements;
mod stream;
mod work;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use builder::ConsumerBuilder;
pub use delivery::{DeadLetterCause, DeadLetterOrigin, Delivery, Settling};
pub use error::{ConsumeError, SettleError};

use self::{
    command::Command,
    inbox::{Entry, Inbox},
};

/// Consumes one subscription of a queue, over a connection of its own.
///
/// When the connection breaks, the consumer opens another and takes its leases up again: a delivery that the
/// application holds stays valid and is not given out twice, and settlements that were under way are sent again.
///
/// Several tasks may call [`Consumer::next`] on one shared consumer; each delivery goes to one of them.
///
/// ```no_run
/// # async fn example(client: posthouse_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let consumer = client.consumer("identity-cards/applications").credit_messages(100).open().await?;
/// while let Some(delivery) = consumer.next().await? {
///     match std::str::from_utf8(delivery.payload()) {
///         Ok(text) => {
///             println!("{text}");
///             delivery.ack().await?;
///         }
///         Err(_) => delivery.dead_letter().await?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    inbox: Arc<Inbox>,
    commands: mpsc::UnboundedSender<Command>,
    queue: String,
}

/// What comes to a consumer.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly all are deliveries")]
pub enum Event {
    /// A message, leased.
    Delivery(Delivery),
    /// Nothing is ready and nothing is leased in the subscription, by anyone. What waits for a retry, or is parked as
    /// a dead letter, does not count.
    Idle {
        /// Messages that wait for a retry.
        waiting: u64,
        /// Dead letters with nowhere to go.
        parked: u64,
    },
}

impl Consumer {
    /// The queue's full resource name.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The next delivery; `None` after [`Consumer::close`]. This may be dropped while it waits: nothing is lost.
    pub async fn next(&self) -> Result<Option<Delivery>, ConsumeError> {
        loop {
            match self.next_event().await? {
                Some(Event::Delivery(delivery)) => return Ok(Some(delivery)),
                Some(Event::Idle { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next delivery, or that there is none; `None` after [`Consumer::close`]. This may be dropped while it waits:
    /// nothing is lost.
    pub async fn next_event(&self) -> Result<Option<Event>, ConsumeError> {
        Ok(self.inbox.next().await?.map(|entry| match entry {
            Entry::Delivery { delivery, .. } => {
                Event::Delivery(Delivery::new(delivery, self.commands.clone()))
            }
            Entry::Idle { waiting, parked } => Event::Idle { waiting, parked },
        }))
    }

    /// Ends the consumer: what was settled is confirmed, and what was not is released, also what the application still
    /// holds. Fails if the server did not confirm that in time; the leases then run to their deadline.
    ///
    /// Dropping the consumer does the same without waiting.
    pub async fn close(&self) -> Result<(), ConsumeError> {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).is_err() {
            return self.inbox.next().await.map(|_| ());
        }
        closed.await.unwrap_or(Ok(()))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (done, _) = oneshot::channel();
        // If the task has ended there is nothing to close.
        let _ = self.commands.send(Command::Close(done));
    }
}

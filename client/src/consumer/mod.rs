//! Consuming: deliveries that are guards, on one stream that comes back by itself.

mod builder;
mod clock;
mod command;
mod delivery;
mod driver;
mod error;
mod extensions;
mod inbox;
mod ledger;
mod lost_leases;
mod origin;
mod settlement;
mod settlements;
mod stream;
mod work;

use std::sync::Arc;

use tokio::sync::oneshot;

pub use builder::ConsumerBuilder;
pub use delivery::Delivery;
pub use error::{ConsumeError, SettleError};
pub use origin::{DeadLetterCause, DeadLetterOrigin};
pub use settlement::{Settlement, Settling, SettlingAll};

use self::{
    command::{ConsumeCommand, ConsumerShared},
    inbox::{Inbox, InboxEntry},
};
use crate::answer_group::Responder;

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
    shared: Arc<ConsumerShared>,
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
        &self.shared.queue
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

    /// The deliveries that are here, oldest first: at least one, for which this waits, and at most so many (0 counts as 1).
    /// It costs less than to ask for each; [`Consumer::settle_all`] is its other half. Empty after [`Consumer::stop`] and
    /// [`Consumer::close`]. This may be
    /// dropped while it waits: nothing is lost.
    pub async fn next_many(&self, max: usize) -> Result<Vec<Delivery>, ConsumeError> {
        let make =
            |delivery, slot, lease_end| Delivery::new(delivery, slot, lease_end, Arc::clone(&self.shared));
        self.inbox.next_deliveries(max, make).await
    }

    /// The next delivery, or that there is none; `None` after [`Consumer::close`]. This may be dropped while it waits:
    /// nothing is lost.
    pub async fn next_event(&self) -> Result<Option<Event>, ConsumeError> {
        Ok(self.inbox.next().await?.map(|entry| match entry {
            InboxEntry::Delivery { delivery, slot, lease_end, .. } => {
                Event::Delivery(Delivery::new(delivery, slot, lease_end, Arc::clone(&self.shared)))
            }
            InboxEntry::Idle { waiting, parked } => Event::Idle { waiting, parked },
        }))
    }

    /// Settles many deliveries at once. They are handed over when this is called; what is returned resolves when the
    /// server has them all on disk, with one result for each, in order.
    ///
    /// ```no_run
    /// # async fn example(consumer: posthouse_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// use posthouse_client::Settlement;
    ///
    /// let written = consumer.next_many(100).await?;
    /// // One commit for up to a hundred messages, then:
    /// for settled in consumer.settle_all(written.into_iter().map(|it| (it, Settlement::Ack))).await {
    ///     settled?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn settle_all(&self, deliveries: impl IntoIterator<Item = (Delivery, Settlement)>) -> SettlingAll {
        let deliveries: Vec<(Delivery, Settlement)> = deliveries.into_iter().collect();
        let (settling, parts) = SettlingAll::new(deliveries.len());
        let settles = deliveries.into_iter().zip(parts).filter_map(|((delivery, settlement), part)| {
            delivery.settle_with(settlement, Responder::Group(part), &self.shared)
        });
        // If the task has ended, the parts go with the command and tell it.
        let _ = self.shared.commands.send(ConsumeCommand::SettleAll(settles.collect()));
        settling
    }

    /// Takes no more: what waits in this consumer is released at once, for others to take, and [`Consumer::next`]
    /// gives `None`. Deliveries that the application holds stay leased, and can be settled; [`Consumer::close`] ends
    /// the consumer after that.
    pub fn stop(&self) {
        // If the task has ended nothing comes any more.
        let _ = self.shared.commands.send(ConsumeCommand::Stop);
    }

    /// Ends the consumer: what was settled is confirmed, and what was not is released, also what the application still
    /// holds. Fails if the server did not confirm that in time; the leases then run to their deadline.
    ///
    /// Dropping the consumer does the same without waiting, as long as the runtime lives. If the runtime or the process ends
    /// first, the stream is broken, which is no clean end: the leases run to their deadline, and that counts as an attempt.
    pub async fn close(&self) -> Result<(), ConsumeError> {
        let (done, closed) = oneshot::channel();
        if self.shared.commands.send(ConsumeCommand::Close(done)).is_err() {
            return self.inbox.next().await.map(|_| ());
        }
        closed.await.unwrap_or(Ok(()))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (done, _) = oneshot::channel();
        // If the task has ended there is nothing to close.
        let _ = self.shared.commands.send(ConsumeCommand::Close(done));
    }
}

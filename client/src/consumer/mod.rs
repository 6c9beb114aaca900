//! Consuming: deliveries that settle themselves when they are dropped, over one stream that reconnects by itself.

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
/// When the connection breaks, the consumer opens another and resumes its leases: a delivery that the application has
/// stays valid and is not delivered twice, and unconfirmed settlements are sent again.
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

/// What a consumer receives.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly all are deliveries")]
pub enum Event {
    /// A message, leased to this consumer.
    Delivery(Delivery),
    /// The subscription has no message that is ready or leased to any consumer. It may have messages that wait for a
    /// retry, and parked dead letters.
    Idle {
        /// Messages that wait for a retry.
        waiting: u64,
        /// Dead letters without a dead-letter queue to go to.
        parked: u64,
    },
}

impl Consumer {
    /// The full resource name of the queue.
    pub fn queue(&self) -> &str {
        &self.shared.queue
    }

    /// Waits for the next delivery; `None` after [`Consumer::stop`] and [`Consumer::close`]. Dropping the future loses
    /// no delivery.
    pub async fn next(&self) -> Result<Option<Delivery>, ConsumeError> {
        loop {
            match self.next_event().await? {
                Some(Event::Delivery(delivery)) => return Ok(Some(delivery)),
                Some(Event::Idle { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// Waits for a delivery, and returns those that are here, oldest first: at least one and at most `max` (0 counts as
    /// 1). This costs less than one call for each; [`Consumer::settle_all`] is the counterpart. Returns none after
    /// [`Consumer::stop`] and [`Consumer::close`]. Dropping the future loses no delivery.
    pub async fn next_many(&self, max: usize) -> Result<Vec<Delivery>, ConsumeError> {
        let make =
            |delivery, slot, lease_end| Delivery::new(delivery, slot, lease_end, Arc::clone(&self.shared));
        self.inbox.next_deliveries(max, make).await
    }

    /// Waits for the next delivery, or for the report that the subscription is idle; `None` after [`Consumer::stop`]
    /// and [`Consumer::close`]. Dropping the future loses no delivery.
    pub async fn next_event(&self) -> Result<Option<Event>, ConsumeError> {
        Ok(self.inbox.next().await?.map(|entry| match entry {
            InboxEntry::Delivery { delivery, slot, lease_end, .. } => {
                Event::Delivery(Delivery::new(delivery, slot, lease_end, Arc::clone(&self.shared)))
            }
            InboxEntry::Idle { waiting, parked } => Event::Idle { waiting, parked },
        }))
    }

    /// Settles many deliveries. The call queues all settlements at once. The future resolves when all are on the
    /// server's disk, to one result for each, in order.
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
        // If the task has ended, dropping the command drops the parts, which the future sees.
        let _ = self.shared.commands.send(ConsumeCommand::SettleAll(settles.collect()));
        settling
    }

    /// Accepts no more deliveries: those that wait in this consumer are released at once, and [`Consumer::next`]
    /// returns `None`. The application can still settle the deliveries that it has; then call [`Consumer::close`].
    pub fn stop(&self) {
        // If the task has ended, nothing is received any more.
        let _ = self.shared.commands.send(ConsumeCommand::Stop);
    }

    /// Ends the consumer: waits for the confirmation of settlements, and releases all other deliveries, also those that
    /// the application still has. Fails if the server does not confirm in 15 s; the leases then last to their deadline.
    ///
    /// Dropping the consumer closes it in the background, while the runtime lives. If the runtime or process ends
    /// first, the stream breaks: the leases last to their deadline, and each counts as a failed attempt.
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
        // If the task has ended, there is nothing to close.
        let _ = self.shared.commands.send(ConsumeCommand::Close(done));
    }
}

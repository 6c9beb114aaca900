use std::{sync::Arc, time::Duration};

use posthouse_proto::v1;
use tokio::sync::mpsc;

use super::{
    Consumer,
    command::ConsumerShared,
    driver::{ConsumerLimits, Driver},
    inbox::Inbox,
    ledger::Ledger,
    lost_leases::LostLeases,
    stream::ConsumerSession,
};
use crate::{context::Context, error::Error, name, stream::StreamTarget};

const MAX_CREDIT_BYTES: u64 = 1 << 30;
const MAX_CREDIT_MESSAGES: u32 = 100_000;

/// Settings of a [`Consumer`]. A value beyond a limit is replaced by the limit; only the lease duration is left for the
/// server to check.
#[derive(Clone, Debug)]
#[must_use = "call `open`"]
pub struct ConsumerBuilder {
    context: Context,
    queue: String,
    subscription: String,
    credit: v1::Credit,
    credit_is_set: bool,
    lease_duration: Option<Duration>,
    open_timeout: Duration,
    limits: ConsumerLimits,
}

impl ConsumerBuilder {
    pub(crate) fn new(context: Context, queue: String) -> Self {
        Self {
            context,
            queue,
            subscription: String::new(),
            credit: v1::Credit { messages: 1000, bytes: 16 * 1024 * 1024 },
            credit_is_set: false,
            lease_duration: None,
            open_timeout: Duration::from_secs(20),
            limits: ConsumerLimits {
                give_up_after: Duration::from_secs(300),
                extend_for: Duration::from_secs(3600),
            },
        }
    }

    /// The subscription of the queue to consume; `default` if not set.
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = name.into();
        self
    }

    /// The largest number of unsettled deliveries: 1 to 100,000; 1,000 if not set.
    pub fn credit_messages(mut self, messages: u32) -> Self {
        self.credit.messages = messages.clamp(1, MAX_CREDIT_MESSAGES);
        self.credit_is_set = true;
        self
    }

    /// Sets the number of credits, unless the program has set one.
    pub(crate) fn credit_messages_unless_set(self, messages: u32) -> Self {
        if self.credit_is_set { self } else { self.credit_messages(messages) }
    }

    /// The largest sum of unsettled payloads, in bytes: 1 to 1 GiB; 16 MiB if not set. A larger message is delivered
    /// alone.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.credit.bytes = bytes.clamp(1, MAX_CREDIT_BYTES);
        self
    }

    /// The duration of a lease: 1 s to 12 h; the setting of the subscription if not set. When this consumer vanishes,
    /// its messages wait that long for another consumer. It may be shorter than the work takes, because leases are
    /// extended: see [`ConsumerBuilder::extend_leases_for`].
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = Some(duration);
        self
    }

    /// How long the consumer keeps trying to reconnect without success before it ends; 5 minutes if not set.
    /// Credentials that the server refuses are retried for at most 30 seconds.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.limits.give_up_after = limit;
        self
    }

    /// For how long the consumer extends the lease of a delivery after the application has received it; 1 hour if not
    /// set, zero for never. It bounds how long a handler that hangs keeps its message from other consumers. Use
    /// [`Delivery::extend`](super::Delivery::extend) for longer work. Leases of deliveries that wait in the client are
    /// extended without limit.
    pub fn extend_leases_for(mut self, limit: Duration) -> Self {
        self.limits.extend_for = limit;
        self
    }

    /// The time limit for opening the stream, at first and after a break: 100 ms to 5 minutes; 20 s if not set.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self
    }

    /// Connects and opens the stream. There is one attempt: any failure is returned at once.
    pub async fn open(self) -> Result<Consumer, Error> {
        let queue = name::queue(&self.queue, self.context.tenant())?;
        let target = StreamTarget {
            context: self.context,
            queue: queue.clone(),
            open_timeout: self.open_timeout,
            queue_uid: String::new(),
        };
        let mut session = ConsumerSession {
            target,
            subscription: self.subscription,
            session_id: rand::random(),
            lease_duration: self.lease_duration,
        };
        let mut ledger = Ledger::new(self.credit);
        let stream = session.open(ledger.begin_stream(), None).await?;
        session.target.queue_uid.clone_from(&stream.opened.queue_uid);
        let inbox = Arc::new(Inbox::default());
        let (commands, receiver) = mpsc::unbounded_channel();
        let lost = Arc::new(LostLeases::default());
        let driver =
            Driver::new(session, ledger, receiver, Arc::clone(&inbox), Arc::clone(&lost), self.limits);
        tokio::spawn(driver.run(stream));
        Ok(Consumer { inbox, shared: Arc::new(ConsumerShared { commands, lost, queue }) })
    }
}

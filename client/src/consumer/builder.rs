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

/// Settings of a [`Consumer`]. A value beyond its limit is taken as the limit, but for the lease's duration, which the
/// server checks.
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

    /// Which subscription of the queue; `default` if not set.
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.subscription = name.into();
        self
    }

    /// How many deliveries may be unsettled at a time: 1 to 100,000; 1,000 if not set.
    pub fn credit_messages(mut self, messages: u32) -> Self {
        self.credit.messages = messages.clamp(1, MAX_CREDIT_MESSAGES);
        self.credit_is_set = true;
        self
    }

    /// So many, unless the program has said how many.
    pub(crate) fn credit_messages_unless_set(self, messages: u32) -> Self {
        if self.credit_is_set { self } else { self.credit_messages(messages) }
    }

    /// How many bytes of payload may be unsettled at a time: to 1 GiB; 16 MiB if not set. A larger message is still
    /// delivered, alone.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.credit.bytes = bytes.clamp(1, MAX_CREDIT_BYTES);
        self
    }

    /// How long a lease lasts: 1 s to 12 h; the subscription's setting if not set. It is how long a message waits for
    /// another consumer when this one vanishes; it need not be as long as the work takes, because leases are extended:
    /// see [`ConsumerBuilder::extend_leases_for`].
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = Some(duration);
        self
    }

    /// How long the consumer goes on trying when nothing succeeds; 5 minutes if not set. Credentials that the server
    /// does not accept are tried for 30 seconds at most.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.limits.give_up_after = limit;
        self
    }

    /// How long the lease of a delivery is extended by itself, at each third of its duration, after the application has
    /// taken it; 1 hour if not set, zero for never. It bounds how long work that hangs keeps its message from others;
    /// see [`Delivery::extend`](super::Delivery::extend) for what takes longer. Deliveries that the application has not
    /// taken yet are extended without limit.
    pub fn extend_leases_for(mut self, limit: Duration) -> Self {
        self.limits.extend_for = limit;
        self
    }

    /// How long opening the stream may take, at first and after a break: 100 ms to 5 minutes; 20 s if not set.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self
    }

    /// Connects and opens the stream. This is tried once: what fails here is told at once.
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

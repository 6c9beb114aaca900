use std::{sync::Arc, time::Duration};

use posthouse_proto::v1;
use tokio::sync::mpsc;

use super::{
    Consumer,
    driver::Driver,
    inbox::Inbox,
    ledger::Ledger,
    stream::{ConsumeStream, Session},
};
use crate::{context::Context, error::Error, name};

const MAX_CREDIT_BYTES: u64 = 1 << 30;
const MAX_CREDIT_MESSAGES: u32 = 100_000;

/// Settings of a [`Consumer`].
#[derive(Clone, Debug)]
#[must_use = "call `open`"]
pub struct ConsumerBuilder {
    context: Context,
    queue: String,
    subscription: String,
    credit: v1::Credit,
    lease_duration: Option<Duration>,
    give_up_after: Duration,
}

impl ConsumerBuilder {
    pub(crate) fn new(context: Context, queue: String) -> Self {
        Self {
            context,
            queue,
            subscription: String::new(),
            credit: v1::Credit { messages: 1000, bytes: 16 * 1024 * 1024 },
            lease_duration: None,
            give_up_after: Duration::from_secs(300),
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
        self
    }

    /// How many bytes of payload may be unsettled at a time: to 1 GiB; 16 MiB if not set. A larger message is still
    /// delivered, alone.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.credit.bytes = bytes.clamp(1, MAX_CREDIT_BYTES);
        self
    }

    /// How long a lease lasts: 1 s to 12 h; the subscription's setting if not set. The consumer extends the leases of
    /// deliveries that the application has not yet taken; for those that it has, see
    /// [`Delivery::extend`](super::Delivery::extend).
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = Some(duration);
        self
    }

    /// How long the consumer goes on trying when nothing succeeds; 5 minutes if not set. Credentials that the server
    /// does not accept are tried for 30 seconds at most.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.give_up_after = limit;
        self
    }

    /// Connects and opens the stream. This is tried once: what fails here is told at once.
    pub async fn open(self) -> Result<Consumer, Error> {
        let queue = name::queue(&self.queue, self.context.tenant())?;
        let session = Session {
            context: self.context,
            queue: queue.clone(),
            subscription: self.subscription,
            session_id: rand::random(),
            lease_duration: self.lease_duration,
        };
        let mut ledger = Ledger::new(self.credit);
        let stream = ConsumeStream::open(&session, ledger.open(), None).await?;
        let inbox = Arc::new(Inbox::default());
        let (commands, receiver) = mpsc::unbounded_channel();
        let driver = Driver::new(session, ledger, receiver, Arc::clone(&inbox), self.give_up_after);
        tokio::spawn(driver.run(stream));
        Ok(Consumer { inbox, commands, queue })
    }
}

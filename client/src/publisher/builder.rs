use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Publisher,
    driver::Driver,
    room::Room,
    stream::{PublishStream, Session},
};
use crate::{context::Context, error::Error, message::MAX_BATCH_BYTES, name};

/// Settings of a [`Publisher`].
#[derive(Clone, Debug)]
#[must_use = "call `open`"]
pub struct PublisherBuilder {
    context: Context,
    queue: String,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) batch_messages: usize,
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) max_buffered_bytes: usize,
    pub(super) max_in_flight_batches: usize,
    pub(super) give_up_after: Duration,
}

impl PublisherBuilder {
    pub(crate) fn new(context: Context, queue: String) -> Self {
        let settings = Settings {
            batch_messages: 512,
            batch_bytes: 1024 * 1024,
            linger: Duration::from_millis(2),
            max_buffered_bytes: 16 * 1024 * 1024,
            max_in_flight_batches: 32,
            give_up_after: Duration::from_secs(300),
        };
        Self { context, queue, settings }
    }

    /// How many messages at most go in one batch: 1 to 1,024; 512 if not set.
    pub fn batch_messages(mut self, messages: usize) -> Self {
        self.settings.batch_messages = messages.clamp(1, 1024);
        self
    }

    /// How many bytes of messages at most go in one batch: to 4 MiB less 64 KiB; 1 MiB if not set. A larger message
    /// goes alone.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes.clamp(1, MAX_BATCH_BYTES);
        self
    }

    /// How long a batch that is not full waits for more; 2 ms if not set.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger.min(Duration::from_secs(60));
        self
    }

    /// How many bytes of unanswered messages are kept, before [`Publisher::publish`] waits; 16 MiB if not set.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_buffered_bytes = bytes.clamp(1, 1 << 31);
        self
    }

    /// How many batches are sent ahead of their answers; 32 if not set.
    pub fn max_in_flight_batches(mut self, batches: usize) -> Self {
        self.settings.max_in_flight_batches = batches.clamp(1, 1024);
        self
    }

    /// How long the publisher goes on trying when nothing succeeds; 5 minutes if not set. Credentials that the
    /// server does not accept are tried for 30 seconds at most.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.settings.give_up_after = limit;
        self
    }

    /// Connects and opens the stream. This is tried once: what fails here is told at once.
    pub async fn open(self) -> Result<Publisher, Error> {
        let queue = name::queue(&self.queue, self.context.tenant())?;
        let session = Session {
            context: self.context,
            queue: queue.clone(),
            producer_id: rand::random(),
            epoch: 1,
            // Batches, and room for the frames between them.
            capacity: self.settings.max_in_flight_batches + 16,
        };
        let stream = PublishStream::open(&session, None).await?;
        if stream.opened.next_sequence != 0 {
            return Err(Error::Protocol("a new producer session does not begin at 0"));
        }
        let max_payload = match stream.opened.max_message_bytes {
            0 => MAX_BATCH_BYTES,
            limit => (limit as usize).min(MAX_BATCH_BYTES),
        };
        let (sender, items) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(self.settings.max_buffered_bytes));
        let driver = Driver::new(session, self.settings, items, Arc::clone(&room));
        tokio::spawn(driver.run(stream));
        Ok(Publisher { items: sender, room, queue: queue.into(), max_payload })
    }
}

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Handle, Publisher, driver::Driver, many::HandOverLimit, send_buffer::SendBuffer,
    settings::PublisherSettings, stream::ProducerSession,
};
use crate::{context::Context, error::Error, message::MAX_BATCH_BYTES, name, stream::StreamTarget};

const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings of a [`Publisher`]. A value beyond a limit is replaced by the limit.
#[derive(Clone, Debug)]
#[must_use = "call `open`"]
pub struct PublisherBuilder {
    context: Context,
    queue: String,
    settings: PublisherSettings,
    return_message_ids: bool,
    open_timeout: Duration,
    message_timeout: Option<Duration>,
}

impl PublisherBuilder {
    pub(crate) fn new(context: Context, queue: String) -> Self {
        Self {
            context,
            queue,
            settings: PublisherSettings::default(),
            return_message_ids: false,
            open_timeout: OPEN_TIMEOUT,
            message_timeout: None,
        }
    }

    /// The largest number of messages in a batch: 1 to 1,024; 512 if not set.
    pub fn batch_messages(mut self, messages: usize) -> Self {
        self.settings.batch_messages = messages.clamp(1, 1024);
        self
    }

    /// The largest size of a batch: 1 byte to 4 MiB less 64 KiB; 1 MiB if not set. A larger message is a batch of its
    /// own.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes.clamp(1, MAX_BATCH_BYTES);
        self
    }

    /// How long a batch that is not full waits for more messages: at most 60 s; 2 ms if not set. While four batches are
    /// unanswered, it waits for one of their answers, because larger batches cost the server less.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger.min(Duration::from_secs(60));
        self
    }

    /// The largest size of unanswered messages before [`Publisher::publish`] waits: 1 byte to 2 GiB; 16 MiB if not set.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_buffered_bytes = bytes.clamp(1, 1 << 31);
        self
    }

    /// The largest number of unanswered messages before [`Publisher::publish`] waits: 1 to 1,048,576; 65,536 if not
    /// set.
    pub fn max_buffered_messages(mut self, messages: usize) -> Self {
        self.settings.max_buffered_messages = messages.clamp(1, 1 << 20);
        self
    }

    /// The largest number of unanswered batches: 1 to 1,024; 32 if not set.
    pub fn max_in_flight_batches(mut self, batches: usize) -> Self {
        self.settings.max_in_flight_batches = batches.clamp(1, 1024);
        self
    }

    /// How long the publisher keeps trying without success before it ends; 5 minutes if not set. Credentials that the
    /// server refuses are retried for at most 30 seconds.
    pub fn give_up_after(mut self, limit: Duration) -> Self {
        self.settings.give_up_after = limit;
        self
    }

    /// The time limit for publishing a message, for messages without
    /// [`NewMessage::timeout`](crate::NewMessage::timeout); if not set, only [`PublisherBuilder::give_up_after`]
    /// applies.
    pub fn message_timeout(mut self, limit: Duration) -> Self {
        self.message_timeout = Some(limit);
        self
    }

    /// The time limit for opening the stream, at first and after a break: 100 ms to 5 minutes; 20 s if not set.
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self
    }

    /// Whether the server returns [`Stored::message_id`](super::Stored::message_id) for every message, and not only for
    /// the first of a batch. This makes answers larger by about 40 bytes a message; off if not set.
    pub fn return_message_ids(mut self, enable: bool) -> Self {
        self.return_message_ids = enable;
        self
    }

    /// Former name of [`PublisherBuilder::return_message_ids`].
    #[deprecated(since = "0.1.0", note = "renamed to `return_message_ids`")]
    pub fn tell_message_ids(self, enable: bool) -> Self {
        self.return_message_ids(enable)
    }

    /// Connects and opens the stream. There is one attempt: any failure is returned at once.
    pub async fn open(self) -> Result<Publisher, Error> {
        let queue = name::queue(&self.queue, self.context.tenant())?;
        let target = StreamTarget {
            context: self.context,
            queue: queue.clone(),
            open_timeout: self.open_timeout,
            queue_uid: String::new(),
        };
        let mut session = ProducerSession {
            target,
            producer_id: rand::random(),
            epoch: 1,
            // Batches, and other frames between them.
            capacity: self.settings.max_in_flight_batches + 16,
            return_message_ids: self.return_message_ids,
        };
        let stream = session.open(None).await?;
        session.target.queue_uid.clone_from(&stream.opened.queue_uid);
        if stream.opened.next_sequence != 0 {
            return Err(Error::Protocol("a new producer session does not begin at 0"));
        }
        let max_payload = match stream.opened.max_message_bytes {
            0 => MAX_BATCH_BYTES,
            limit => (limit as usize).min(MAX_BATCH_BYTES),
        };
        let (sender, commands) = mpsc::unbounded_channel();
        let buffer =
            Arc::new(SendBuffer::new(self.settings.max_buffered_bytes, self.settings.max_buffered_messages));
        let driver = Driver::new(session, self.settings, commands, Arc::clone(&buffer));
        let task = tokio::spawn(driver.run(stream)).abort_handle();
        let (message_timeout, limit) = (self.message_timeout, HandOverLimit::new(&self.settings));
        let handle = Handle { commands: sender, buffer, queue, max_payload, limit, message_timeout, task };
        Ok(Publisher(Arc::new(handle)))
    }
}

//! What the tests saw, in the order in which they saw it.
//!
//! Every event is stamped by one monotonic clock of the test process. Times of the server are kept beside it where a
//! frame carried them, and the two are never compared.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

use crate::payload::{PayloadId, Seen};

/// Nanoseconds since the history began, by the test's own clock.
pub type Moment = u64;

/// Nanoseconds since 1970, by the server's clock.
pub type ServerTime = i64;

/// One event and when it was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// What.
    pub what: What,
}

/// Everything that can happen in a history.
#[derive(Clone, Debug, Serialize)]
pub enum What {
    /// A message is about to be published; from now on it may exist.
    PublishStarted {
        /// The message.
        payload: PayloadId,
    },
    /// The server answered that it is on disk.
    PublishAcked {
        /// The message.
        payload: PayloadId,
        /// Its sequence in the queue, if the answer has it.
        sequence: Option<u64>,
    },
    /// The server answered that it did not store it.
    PublishRefused {
        /// The message.
        payload: PayloadId,
    },
    /// No answer will come: it may be stored, or not.
    PublishUnknown {
        /// The message.
        payload: PayloadId,
    },
    /// A message came.
    Delivered(Delivery),
    /// The lease of a delivery was moved, and the server confirmed it.
    Extended {
        /// The delivery.
        token: Token,
        /// When it ends now.
        deadline: ServerTime,
    },
    /// A settlement is about to be sent; from now on it may hold.
    SettleSent {
        /// The delivery.
        token: Token,
        /// How.
        action: Action,
    },
    /// The server answered that the settlement is on disk.
    SettleConfirmed {
        /// The delivery.
        token: Token,
    },
    /// The server answered that the settlement did not happen.
    SettleRefused {
        /// The delivery.
        token: Token,
        /// Why.
        reason: String,
    },
    /// No answer will come: the settlement may hold, or not.
    SettleUnknown {
        /// The delivery.
        token: Token,
    },
    /// A consumer is about to end its stream cleanly, which releases whatever it holds.
    ConsumerClosed {
        /// The consumer.
        consumer: u32,
    },
    /// The server is about to be killed.
    ServerKilled,
    /// The server answers again.
    ServerReady,
    /// The last consumers have taken everything there is: the queue is empty, and nothing is leased.
    Drained,
}

/// One lease on one message, as it came to a consumer.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// Who received it.
    pub consumer: u32,
    /// The right to settle it.
    pub token: Token,
    /// The server's name for the message.
    pub message: String,
    /// Its sequence in the queue.
    pub sequence: u64,
    /// Where it stood before it became a dead letter.
    pub origin: Option<String>,
    /// What its bytes turned out to be.
    pub payload: Seen,
    /// Counts from 1.
    pub attempt: u32,
    /// When the lease ends, by the server's clock.
    pub deadline: ServerTime,
    /// How long leases last in this stream, in nanoseconds.
    pub lease: i64,
    /// Whether it came again to a resumed session.
    pub resumed: bool,
}

impl Delivery {
    /// When the lease began, by the server's clock. Of a resumed one that was extended, too late by the extension.
    pub fn granted(&self) -> ServerTime {
        self.deadline - self.lease
    }
}

/// The right to settle a delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Token(pub Vec<u8>);

/// What a settlement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Done.
    Ack,
    /// Failed, again later.
    Nack,
    /// Not tried, again now.
    Release,
    /// Hopeless.
    DeadLetter,
}

impl Action {
    /// Whether the message never comes again from this subscription.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Ack | Self::DeadLetter)
    }
}

/// Writes a history, from any number of threads.
#[derive(Clone)]
pub struct Recorder {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), events: Arc::default() }
    }
}

impl Recorder {
    /// Notes an event, now.
    pub fn record(&self, what: What) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that the history is in the order of its times.
        let at = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        events.push(Event { at, what });
    }

    /// Everything noted so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes a history as JSON lines, for whoever has to find out why it is a bad one.
pub fn save(events: &[Event], path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

//! The events that the tests saw, in their order.
//!
//! Every event has a time of the test process's monotonic clock. Times of the server are recorded where a frame has
//! them; the two clocks are never compared.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

use crate::payload::{PayloadId, Seen};

/// Nanoseconds since the history began, by the clock of the test.
pub type Moment = u64;

/// Nanoseconds since 1970, by the server's clock.
pub type ServerTime = i64;

/// One event, and when the test saw it.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// The time of the event.
    pub at: Moment,
    /// The event.
    pub what: What,
}

/// The events of a history.
#[derive(Clone, Debug, Serialize)]
pub enum What {
    /// A message is about to be published; from now on it may exist.
    PublishStarted {
        /// The message.
        payload: PayloadId,
    },
    /// The server answered that the message is on disk.
    PublishAcked {
        /// The message.
        payload: PayloadId,
        /// Its sequence in the queue, if the answer has it.
        sequence: Option<u64>,
    },
    /// The server answered that it did not store the message.
    PublishRefused {
        /// The message.
        payload: PayloadId,
    },
    /// The answer is lost: the message may be stored, or not.
    PublishUnknown {
        /// The message.
        payload: PayloadId,
    },
    /// A message was received.
    Delivered(Delivery),
    /// The lease of a delivery was moved, and the server confirmed it.
    Extended {
        /// The delivery.
        token: Token,
        /// When the lease ends now.
        deadline: ServerTime,
    },
    /// A settlement is about to be sent; from now on it may take effect.
    SettleSent {
        /// The delivery.
        token: Token,
        /// The settlement's action.
        action: Action,
    },
    /// The server answered that the settlement is on disk.
    SettleConfirmed {
        /// The delivery.
        token: Token,
    },
    /// The server answered that the settlement had no effect.
    SettleRefused {
        /// The delivery.
        token: Token,
        /// The reason of the refusal.
        reason: String,
    },
    /// The answer is lost: the settlement may have had an effect, or not.
    SettleUnknown {
        /// The delivery.
        token: Token,
    },
    /// A consumer is about to end its stream cleanly, which releases its leases.
    ConsumerClosed {
        /// The consumer.
        consumer: u32,
    },
    /// The server is about to be killed.
    ServerKilled,
    /// The server answers again.
    ServerReady,
    /// The last consumers have received all messages: the queue is empty, and nothing is leased.
    Drained,
}

/// One lease on one message, as a consumer received it.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// The consumer.
    pub consumer: u32,
    /// The right to settle it.
    pub token: Token,
    /// The server's id of the message.
    pub message: String,
    /// Its sequence in the queue.
    pub sequence: u64,
    /// The id that it had before it became a dead letter.
    pub origin: Option<String>,
    /// What its payload is.
    pub payload: Seen,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When the lease ends, by the server's clock.
    pub deadline: ServerTime,
    /// The duration of the stream's leases, in nanoseconds.
    pub lease: i64,
    /// Whether it was sent again to a resumed session.
    pub resumed: bool,
}

impl Delivery {
    /// When the lease began, by the server's clock. If a resumed lease was extended, it is too late by the extension.
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
    /// The message is done.
    Ack,
    /// The attempt failed; the message is delivered again later.
    Nack,
    /// The message was not tried; it is delivered again at once.
    Release,
    /// No attempt can succeed.
    DeadLetter,
}

impl Action {
    /// Whether the message is never delivered again from this subscription.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Ack | Self::DeadLetter)
    }
}

/// Records a history, from any number of threads.
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
    /// Records an event with the present time.
    pub fn record(&self, what: What) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is read under the lock, so that the history is in the order of its times.
        let at = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        events.push(Event { at, what });
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes a history as JSON lines, to find out why it is a bad one.
pub fn save(events: &[Event], path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

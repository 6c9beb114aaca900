use std::time::{Duration, SystemTime};

use posthouse_proto::v1;

use super::QueueStats;
use crate::time;

/// A queue, as the server defines it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Queue {
    /// The full resource name.
    pub name: String,
    /// Never reused: a queue created again under an old name has another.
    pub uid: String,
    /// Changes with every change of the definition.
    pub etag: String,
    /// When it was created.
    pub create_time: SystemTime,
    /// When its definition was last changed.
    pub update_time: SystemTime,
    /// The largest payload it takes.
    pub max_message_bytes: u32,
    /// How long a lease lasts unless the consumer says otherwise.
    pub lease_duration: Option<Duration>,
    /// A message that failed this often is a dead letter.
    pub max_attempts: u32,
    /// Where dead letters go; `None`: they are parked where they are.
    pub dead_letter_queue: Option<String>,
    /// Counts, if they were asked for.
    pub stats: Option<QueueStats>,
}

impl From<v1::Queue> for Queue {
    fn from(queue: v1::Queue) -> Self {
        let settings = queue.default_subscription.unwrap_or_default();
        Self {
            name: queue.name,
            uid: queue.uid,
            etag: queue.etag,
            create_time: time::or_epoch(queue.create_time),
            update_time: time::or_epoch(queue.update_time),
            max_message_bytes: queue.max_message_bytes,
            lease_duration: time::duration(settings.lease_duration),
            max_attempts: settings.max_attempts,
            dead_letter_queue: Some(settings.dead_letter_queue).filter(|target| !target.is_empty()),
            stats: queue.stats.map(QueueStats::from),
        }
    }
}

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
    /// The unique id. A queue that is created again under an old name has a new one.
    pub uid: String,
    /// Identifies this version of the definition, for [`QueueSettings::etag`](super::QueueSettings::etag).
    pub etag: String,
    /// When the queue was created.
    pub create_time: SystemTime,
    /// When the definition was last changed.
    pub update_time: SystemTime,
    /// The largest payload, in bytes.
    pub max_message_bytes: u32,
    /// The duration of a lease, unless a consumer asks for another.
    pub lease_duration: Option<Duration>,
    /// The number of failed deliveries after which a message is a dead letter.
    pub max_attempts: u32,
    /// The full resource name of the dead-letter queue; `None` if dead letters are parked.
    pub dead_letter_queue: Option<String>,
    /// The counts; `None` in lists and in answers to changes.
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

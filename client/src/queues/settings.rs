use std::time::Duration;

use posthouse_proto::v1;

use crate::time;

/// Settings for a new queue or a change. What is not set keeps its default or its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSettings {
    max_message_bytes: Option<u32>,
    lease_duration: Option<Duration>,
    max_attempts: Option<u32>,
    dead_letter_queue: Option<String>,
    etag: String,
}

impl QueueSettings {
    /// Creates settings without any value.
    pub fn new() -> Self {
        Self::default()
    }

    /// The largest payload, in bytes; 1 MiB if not set.
    pub fn max_message_bytes(mut self, bytes: u32) -> Self {
        self.max_message_bytes = Some(bytes);
        self
    }

    /// The duration of a lease, unless a consumer asks for another: 1 s to 12 h; 30 s if not set.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = Some(duration);
        self
    }

    /// The number of failed deliveries after which a message is a dead letter: 1 to 1,000; 16 if not set.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// The queue for dead letters, in the same department. An empty name parks them where they are.
    pub fn dead_letter_queue(mut self, queue: impl Into<String>) -> Self {
        self.dead_letter_queue = Some(queue.into());
        self
    }

    /// For an update: change the queue only if this is still its etag.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    pub(super) fn dead_letter_target(&self) -> Option<&str> {
        self.dead_letter_queue.as_deref().filter(|target| !target.is_empty())
    }

    pub(super) fn to_wire(&self, name: String, dead_letter_queue: String) -> v1::Queue {
        v1::Queue {
            name,
            etag: self.etag.clone(),
            max_message_bytes: self.max_message_bytes.unwrap_or(0),
            default_subscription: Some(v1::SubscriptionSettings {
                lease_duration: self.lease_duration.map(time::to_wire),
                max_attempts: self.max_attempts.unwrap_or(0),
                dead_letter_queue,
            }),
            ..v1::Queue::default()
        }
    }

    /// The paths of the values that are set, for the field mask of an update.
    pub(super) fn paths(&self) -> Vec<String> {
        [
            (self.max_message_bytes.is_some(), "max_message_bytes"),
            (self.lease_duration.is_some(), "default_subscription.lease_duration"),
            (self.max_attempts.is_some(), "default_subscription.max_attempts"),
            (self.dead_letter_queue.is_some(), "default_subscription.dead_letter_queue"),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, path)| path.to_owned())
        .collect()
    }
}

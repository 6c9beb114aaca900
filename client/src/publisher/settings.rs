use std::time::Duration;

/// The settings of a publisher. [`PublisherBuilder`](super::PublisherBuilder) has their meanings and limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublisherSettings {
    pub(super) batch_messages: usize,
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) max_buffered_bytes: usize,
    pub(super) max_buffered_messages: usize,
    pub(super) max_in_flight_batches: usize,
    pub(super) give_up_after: Duration,
}

impl Default for PublisherSettings {
    fn default() -> Self {
        Self {
            batch_messages: 512,
            batch_bytes: 1024 * 1024,
            linger: Duration::from_millis(2),
            max_buffered_bytes: 16 * 1024 * 1024,
            max_buffered_messages: 65_536,
            max_in_flight_batches: 32,
            give_up_after: Duration::from_secs(300),
        }
    }
}

//! What the streams of both directions share.

pub(super) mod connection;
pub(super) mod outbox;
pub(super) mod task;

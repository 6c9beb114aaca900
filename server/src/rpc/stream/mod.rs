//! The task that runs a publish or consume stream, its connection, and the outbox of its answers.

pub(super) mod connection;
pub(super) mod outbox;
pub(super) mod task;

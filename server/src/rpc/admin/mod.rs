//! The services that manage queues and show messages.

pub(super) mod messages;
pub(super) mod queues;

mod dead_letters;
mod list_queues;
mod queue_settings;
mod redrive;
mod redrive_cursor;
mod redrive_pick;
mod requests;

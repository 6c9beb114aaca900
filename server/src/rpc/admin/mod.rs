//! The services `Queues` and `Messages`, which manage queues, and show and redrive messages.

pub(super) mod messages;
pub(super) mod queues;

mod dead_letters;
mod list_queues;
mod manage_call;
mod queue_changes;
mod queue_settings;
mod redrive;
mod redrive_cursor;
mod redrive_selection;
mod requests;

//! The `Consumer` service: it leases messages to clients and handles their settlements.

pub(super) mod service;

mod backlog;
mod credit;
mod deliveries;
mod frames;
mod receive;
mod recording;
mod requests;
mod session_events;
mod settlements;
mod source;
mod stream;
mod telemetry;

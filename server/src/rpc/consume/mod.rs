//! The `Consumer` service: leases out, settlements in.

pub(super) mod service;

mod backlog;
mod credit;
mod outgoing;
mod receive;
mod recording;
mod requests;
mod session_events;
mod settlements;
mod source;
mod stream;
mod telemetry;

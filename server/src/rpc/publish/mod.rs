//! The `Publisher` service: it stores messages that clients publish.

pub(super) mod service;

mod answer;
mod batch;
mod refusals;
mod stream;
mod target;
mod telemetry;

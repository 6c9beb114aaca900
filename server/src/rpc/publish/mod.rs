//! The `Publisher` service: messages in.

pub(super) mod service;

mod answer;
mod batch;
mod refusals;
mod stream;
mod target;
mod telemetry;

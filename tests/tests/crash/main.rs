//! Crashes: kills and power cuts under load, judged by the history checker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, and the helpers are no less so than what is marked as one"
)]

mod kill;
mod power;
mod rounds;
mod shim;
mod upgrade;

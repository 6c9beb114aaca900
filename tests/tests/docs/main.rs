//! The pages for users are true: every command on them runs, everything they name exists, and errors have their causes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, and the helpers are no less so than what is marked as one"
)]

mod causes;
mod commands;
mod limits;
mod names;
mod pages;
mod reasons;

//! The pages for users are true: every command in them runs, and what they name is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, and the helpers are no less so than what is marked as one"
)]

mod commands;
mod names;
mod pages;
mod reasons;

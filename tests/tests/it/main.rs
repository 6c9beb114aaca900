//! What Posthouse promises, shown on the real binary over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, and the helpers are no less so than what is marked as one"
)]

mod bench;
mod dead_letters;
mod drain;
mod leases;
mod lines;
mod open;
mod producers;
mod security;
mod sessions;
mod throwaway;
mod tokens;
mod unread;

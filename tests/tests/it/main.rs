//! What Posthouse promises, shown on the real binary over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, and the helpers are no less so than what is marked as one"
)]

mod attack;
mod bad_input;
mod bad_tokens;
mod bench;
mod certificates;
mod clock;
mod commands;
mod dead_letters;
mod disk;
mod door;
mod drain;
mod held;
mod key_sets;
mod ends;
mod leases;
mod lines;
mod listing;
mod messages;
mod mixed_sizes;
mod observe;
mod open;
mod pipes;
mod producers;
mod purge;
mod quota;
mod redrive;
mod redrive_cursors;
mod refused_retries;
mod reload;
mod requests;
mod security;
mod sessions;
mod shares;
mod stats;
mod throwaway;
mod tokens;
mod tombstones;
mod unread;

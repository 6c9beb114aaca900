//! The rules of the house, read off the sources. Each rule is a function from files to violations, and has a test with
//! an example that breaks it and one that nearly does. What still breaks a rule is listed in `exceptions.txt` with its
//! reason; an entry that nothing needs fails too, so that the lists can only shrink.
//!
//! It needs the standard library alone, so a change of it can be tried without cargo:
//! `CARGO_MANIFEST_DIR=$PWD/tests rustc --edition 2024 --test tests/tests/tidy/main.rs -o /tmp/tidy && /tmp/tidy`.
//! With `POSTHOUSE_TIDY_PRINT=1` and `-- --nocapture` it prints the edges between modules, the circles and all counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, and the helpers are no less so than what is marked as one"
)]

mod exceptions;
mod modules;
mod source;
mod tokens;
mod tree;

mod banned_words;
mod decisions;
mod dependencies;
mod edges;
mod file_lengths;
mod import_blocks;
mod key_bytes;
mod line_lengths;
mod printing;
mod rpc_kinds;

//! Black-box, crash and security tests of Posthouse, over real sockets and with the real binary.
//!
//! # Layout
//!
//! * `attack`: what one caller can do to a server and to its neighbours
//! * `binaries`: where the programs under test are
//! * `payload`: messages whose bytes identify them and show every flipped bit
//! * `history`: the events that the tests saw
//! * `checker`: decides whether a history keeps the promises, one property a file
//! * `load`: producers and consumers that record what they see
//! * `harness`: the real binary, its keys and configuration, its callers
//! * `powercut`: runs a server for a power cut, and rebuilds its folder as the cut would leave it
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on has to fail its test, and say where"
)]

pub mod attack;
pub mod binaries;
pub mod checker;
pub mod harness;
pub mod history;
pub mod load;
pub mod payload;
pub mod powercut;

/// Compiles the Rust in the pages for users.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/client-guide.md")]
    mod client_guide {}
}

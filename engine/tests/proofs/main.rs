//! The engine's proofs, by random batches: a naive model agrees with it; state in memory changes nothing; a
//! snapshot and the rest of the log are the whole log. Planted bugs make them fail.
//!
//! A failure prints the seed: `POSTHOUSE_SEED=<seed>` repeats it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agree;
mod driver;
#[cfg(not(feature = "planted-bugs"))]
mod golden;
mod model;
mod old_log;
mod op;
mod prove;
mod reach;
mod restart;
mod snapshot;
mod subject;

#[cfg(feature = "planted-bugs")]
mod planted;

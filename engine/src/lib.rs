//! The deterministic state machine of Posthouse: commands in, writes, outcomes and effects out.
//!
//! Nothing here reads a clock, draws a random number, touches a disk or a network, or waits. Time, nonces and
//! ciphertext arrive inside the command, so that every replica, and every replay of the log, ends in the same bytes.
//!
//! In reading order: [`ids`], [`schema`] (what is logged and stored), [`keys`] (where a row stands), [`kv`] (the only
//! door to storage), [`outcome`] and [`effect`] (what comes out), [`views`] (what may be asked), then the machines: [`machine`] for a shard, whose
//! verbs are one file each under `apply/`, and [`catalogue`]; [`check`](mod@check) says what must hold of the rows.

// They panic when stdout or stderr is gone, and wait while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod ids;
pub mod limits;
pub mod schema;
pub mod kv;
pub mod layered;
pub mod keys;
pub mod body;
pub mod message_id;
pub mod outcome;
pub mod effect;
pub mod views;
pub mod tally;
pub mod halt;
pub mod machine;
pub mod catalogue;
pub mod check;

mod apply;
mod overlay;
mod sorted_run;
mod settlements;
mod state;

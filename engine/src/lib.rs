//! The deterministic state machine of Posthouse: commands in, writes, outcomes and effects out.
//!
//! Nothing here reads a clock, draws a random number, touches a disk or a network, or waits. Time, nonces and
//! ciphertext arrive inside the command, so that every replica, and every replay of the log, ends in the same bytes.
//!
//! In reading order: [`ids`], [`schema`] (what is logged and stored), [`keys`] (the key of every row), [`kv`] (the
//! only access to storage), [`outcome`] and [`effect`] (the results of commands), [`views`] (the answers to queries),
//! then the machines: [`machine`] for a shard, whose verbs are one file each under `apply/`, and [`catalogue`].
//! `state/` keeps a queue in memory; its head says how a message lives. [`check`](mod@check) says what must hold of
//! the rows.

// These macros panic when stdout or stderr is closed, and wait while nobody reads it.
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

//! The Posthouse server: what is between a socket and a disk, one module for each step.
//!
//! The steps of a message, in their order: [`door`] (TLS), [`identity`] (the caller), [`policy`] (the caller's rights),
//! [`quota`] (the tenant's share), [`rpc`] (the calls), `fair_gate` (the tenants' shares of the way to the disk),
//! `shard` (the threads that carry a command through log, engine and store), [`log`] (durable and ordered entries), the
//! engine (a crate of its own: it decides what a command does), [`store`] (RocksDB), and `dispatch` (which session gets
//! which message).
//!
//! [`observe`] is what operators see, and [`out`] is what the process writes to stderr, stdout and files. `app` builds
//! all of them; `store_check` checks the folder of a stopped server, and `set_aside` changes it when an entry of its
//! log halts a shard.

// The `print` family panics if stdout or stderr is closed, and blocks while nobody reads it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod certificates;
pub mod config;
pub mod grants;
pub mod limits;
pub mod names;
pub mod observe;
pub mod out;

pub mod door;
pub mod identity;
pub mod policy;
pub mod quota;
pub mod rpc;

pub mod reload;

pub mod log;
pub mod store;

mod account;
mod bodies;
mod catalogue;
mod clock;
mod content;
mod source_slots;
mod disk_space;
mod fair_gate;
mod pace;
mod shard;

mod dispatch;

mod app;
mod set_aside;
mod store_check;

pub use app::{ServeError, ServeOptions, serve};
pub use set_aside::{
    ReopenDepartment, Reopened, SetAside, SetAsideError, SkipEntry, Skipped, reopen_department, skip_entry,
};
pub use store_check::{Part, Problem, StoreCheckOptions, StoreReport, check_store};

/// The exit code of a process whose disk failed (EX_IOERR).
const EXIT_IO: i32 = 74;

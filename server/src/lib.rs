//! The Posthouse server: a message's way from the door to the disk and back, one module a room.
//!
//! Before the first, and beside all of them, [`observe`]: what operators see, and [`out`]: what the process writes for
//! people.
//!
//! In the order of that way: [`door`] (TLS), [`identity`] (who), [`policy`] (may they), [`quota`] (how much), [`rpc`]
//! (what), [`log`] (durable and in order), the engine (a crate of its own: what becomes of it), [`store`] (kept),
//! `shard` (the threads that carry a command through the last three, with `fair_gate` before them, which tenants pass
//! fairly), and `dispatch` (who gets what). `app` builds them; `store_check` looks into the folder of a server that is
//! stopped, and `set_aside` changes it when an entry of its log halts a shard.

// They panic when stdout or stderr is gone, and wait while nobody reads it.
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
mod disk;
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

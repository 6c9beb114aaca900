//! What the operating system, and their allocators, say of the processes that are measured.

pub mod allocations;
pub mod process;
pub mod usage;

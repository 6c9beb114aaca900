//! What the operating system says of the processes that are measured.

pub mod allocations;
pub mod process;
pub mod usage;

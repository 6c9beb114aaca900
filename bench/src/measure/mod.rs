//! What the operating system and the allocators say of the measured processes.

pub mod allocations;
pub mod process;
pub mod usage;

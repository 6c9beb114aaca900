//! The C functions that are replaced. Each makes the system call it stands for, and then tells the tracker.
//!
//! `open` and its kin take their mode as a variable argument; on the machines this is for it comes in the register of
//! a third or fourth argument, and is looked at by the kernel only when there is one.

mod clock;
mod data;
mod names;
mod open;
mod refused;
mod sync;

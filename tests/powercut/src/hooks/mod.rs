//! The C functions that are replaced. Each makes its system call and then reports to the tracker.
//!
//! `open` and its kin have their mode as a variable argument. On the supported machines it is in the register of a
//! third or fourth argument, and the kernel reads it only if there is one.

mod clock;
mod data;
mod names;
mod open;
mod refused;
mod sync;

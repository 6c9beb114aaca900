//! A preload library that makes a power cut testable.
//!
//! `kill -9` leaves the page cache, so it never shows a missing sync. With this library in `LD_PRELOAD`, a program
//! writes to its real files as ever, and beside them a *mirror* keeps what would be on disk if the power went away:
//!
//! * a file's bytes and length as they were at its last `fsync` or `fdatasync` (a write through `O_SYNC` or `O_DSYNC`
//!   counts as one);
//! * a folder's names as they were at the folder's last `fsync`; and, as ext4 does, the name of a new file from the
//!   file's first sync. Renames and unlinks wait for the folder.
//!
//! After the program was killed, the tests rebuild the folder from the mirror alone.
//!
//! Configuration: `POSTHOUSE_POWERCUT_FOLDER` is the folder that is watched, `POSTHOUSE_POWERCUT_MIRROR` where the
//! mirror is kept, outside of it. What stands in the folder when the mirror is first made counts as durable. Without
//! the variables every call passes straight through.
//!
//! # Layout
//!
//! * `hooks`: the C functions that are replaced, each the system call and then a word to the tracker
//! * `tracker`: which files are watched, which of their bytes are not synced yet
//! * `mirror`: the durable state, in plain files; its layout is the contract with the tests that restore from it
//! * `sys`: the system calls, raw, since the C library's own functions are the ones being replaced
//!
//! # What is not modelled
//!
//! Shared writable mappings, `sync`, `syncfs`, collapsed or inserted ranges, symbolic links, and writing streams of the
//! C library end the program with a message, if they touch the folder. A write that a power cut would have kept by
//! luck is always lost here, which is what a test wants.
#![allow(unsafe_code, reason = "C functions are replaced, and raw system calls made in their place")]
#![cfg(target_os = "linux")]

mod hooks;
mod mirror;
mod sys;
mod tracker;

/// Makes the mirror before the program's first step, even of a program that then does nothing to its files.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = {
    extern "C" fn begin() {
        tracker::with(|_| ());
    }
    begin
};

//! Whether this process was given its standard streams.
//!
//! Rust's runtime opens `/dev/null` in place of a stream that was closed, so that no other file gets its number, and
//! writes to it seem to succeed. Afterwards it cannot be distinguished from a `/dev/null` that was opened for reading
//! and writing on purpose, as daemons are started. So this is checked before the runtime begins.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU8, Ordering},
};

use rustix::{
    fs::{OFlags, fcntl_getfl},
    io::{Errno, fcntl_getfd},
    stdio::{stderr, stdin, stdout},
};

/// The streams that were closed, a bit for each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

ctor::declarative::ctor! {
    /// A system call for each stream and nothing else: not even the runtime has begun.
    #[ctor(unsafe)]
    fn find_closed_streams() {
        for stream in [Stream::Stdin, Stream::Stdout, Stream::Stderr] {
            if fcntl_getfd(stream.descriptor()) == Err(Errno::BADF) {
                CLOSED.fetch_or(stream.bit(), Ordering::Relaxed);
            }
        }
    }
}

impl Stream {
    /// Whether it was open when the process began, and for what it is for: reading, or writing.
    pub fn is_open(self) -> bool {
        if CLOSED.load(Ordering::Relaxed) & self.bit() != 0 {
            return false;
        }
        let wrong = if self == Self::Stdin { OFlags::WRONLY } else { OFlags::RDONLY };
        fcntl_getfl(self.descriptor()).is_ok_and(|flags| flags & OFlags::ACCMODE != wrong)
    }

    pub(super) fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdin => stdin(),
            Self::Stdout => stdout(),
            Self::Stderr => stderr(),
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

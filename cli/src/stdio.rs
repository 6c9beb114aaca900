//! Stdin and stdout as whoever started this program has left them. Another program that shares a pipe may have made it
//! non-blocking (Node and ssh do). That is a property of the pipe, not of ours, and to change it would break the other
//! program; so where a read or a write would block, this waits and tries again.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Stdin, unbuffered.
#[derive(Debug)]
pub struct Stdin(File);

/// Stdout, unbuffered.
#[derive(Debug)]
pub struct Stdout(File);

/// A descriptor of this process's stdin.
pub fn stdin() -> io::Result<Stdin> {
    Ok(Stdin(io::stdin().as_fd().try_clone_to_owned()?.into()))
}

/// A descriptor of this process's stdout.
pub fn stdout() -> io::Result<Stdout> {
    Ok(Stdout(rustix::stdio::stdout().try_clone_to_owned()?.into()))
}

impl AsFd for Stdout {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = &self.0;
        patiently(file, PollFlags::IN, || (&*file).read(buffer))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = &self.0;
        patiently(file, PollFlags::OUT, || (&*file).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries until it need not wait. A peer that is gone ends the wait too, and the next try tells of it.
fn patiently(
    file: &File,
    readiness: PollFlags,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
        match poll(&mut [PollFd::new(file, readiness)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

//! Stdin and stdout as whoever started this program has left them. Another program that shares a pipe may have made it
//! non-blocking (Node and ssh do). That is a property of the pipe, not of ours, and to change it would break the other
//! program; so where a read or a write would block, this waits and tries again.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::AsFd,
    sync::Arc,
};

use posthouse_server::out::Stream;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

/// Stdin, unbuffered.
#[derive(Debug)]
pub struct Stdin(File);

/// Stdout, unbuffered.
#[derive(Debug)]
pub struct Stdout(File);

/// A descriptor of this process's stdin.
///
/// # Errors
/// When it was closed when the program began, or cannot be read from: then it is no empty input.
pub fn stdin() -> io::Result<Stdin> {
    open(Stream::Stdin, "stdin is not open for reading")?;
    Ok(Stdin(rustix::stdio::stdin().try_clone_to_owned()?.into()))
}

/// A descriptor of this process's stdout.
///
/// # Errors
/// When it was closed when the program began, or cannot be written to: what is written to it must not vanish.
pub fn stdout() -> io::Result<Stdout> {
    open(Stream::Stdout, "stdout is not open for writing")?;
    Ok(Stdout(rustix::stdio::stdout().try_clone_to_owned()?.into()))
}

fn open(stream: Stream, problem: &'static str) -> io::Result<()> {
    if stream.is_open() { Ok(()) } else { Err(io::Error::new(ErrorKind::NotConnected, problem)) }
}

impl Stdout {
    /// Writes all of it on a thread that may be held up, so that whoever awaits it can hear of a signal meanwhile; gives the
    /// memory back.
    ///
    /// # Errors
    /// When not all of it could be written.
    pub async fn write_apart(self: Arc<Self>, text: Vec<u8>) -> io::Result<Vec<u8>> {
        let writing = move || (&*self).write_all(&text).map(|()| text);
        tokio::task::spawn_blocking(writing).await.map_err(io::Error::other)?
    }
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

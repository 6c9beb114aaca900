//! Stdin and stdout, which may be non-blocking: another program that shares the pipe may have made it so (Node and ssh
//! do). That is a property of the pipe, and changing it would break the other program. So where a read or a write would
//! block, this waits and tries again.

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

/// Opens this process's stdin.
///
/// # Errors
/// If it was closed at the start or cannot be read: then it is not an empty input.
pub fn stdin() -> io::Result<Stdin> {
    open(Stream::Stdin, "stdin is not open for reading")?;
    Ok(Stdin(rustix::stdio::stdin().try_clone_to_owned()?.into()))
}

/// Opens this process's stdout.
///
/// # Errors
/// If it was closed at the start or cannot be written: then the output would be lost.
pub fn stdout() -> io::Result<Stdout> {
    open(Stream::Stdout, "stdout is not open for writing")?;
    Ok(Stdout(rustix::stdio::stdout().try_clone_to_owned()?.into()))
}

fn open(stream: Stream, problem: &'static str) -> io::Result<()> {
    if stream.is_open() { Ok(()) } else { Err(io::Error::new(ErrorKind::NotConnected, problem)) }
}

impl Stdout {
    /// Writes all bytes in a thread that may block, so that the caller can handle signals meanwhile. Returns the
    /// buffer.
    ///
    /// # Errors
    /// If not all bytes could be written.
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

/// Repeats an attempt until it does not block. A closed pipe ends the wait too, and then the attempt fails.
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

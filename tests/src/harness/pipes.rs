//! What a program's standard streams may be, other than a file: a pipe that nobody reads, a terminal.

use std::{
    fs::File,
    io::{ErrorKind, PipeReader, PipeWriter, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::PATIENCE;

/// What a pipe takes before its writer waits, as it usually is.
const FULL: &[u8] = &[b'-'; 4096];

/// A pipe that takes nothing more before somebody reads it, and what it is full of.
pub fn full() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    nonblocking(&writer, true);
    let mut filled = 0;
    loop {
        match writer.write(FULL) {
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    nonblocking(&writer, false);
    (reader, writer, filled)
}

/// Whether reading and writing a descriptor waits.
pub fn nonblocking(of: &impl AsFd, nonblocking: bool) {
    let mut flags = fcntl_getfl(of).unwrap();
    flags.set(OFlags::NONBLOCK, nonblocking);
    fcntl_setfl(of, flags).unwrap();
}

/// A terminal: what is written to it, and read from it, by somebody who sits at it.
pub struct Terminal {
    terminal: File,
    path: PathBuf,
}

impl Terminal {
    /// A terminal of 120 columns.
    pub fn open() -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let path = PathBuf::from(ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap());
        nonblocking(&terminal, true);
        Self { terminal: File::from(terminal), path }
    }

    /// Its end for a program.
    pub fn program(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    /// What programs have written, once it has this in it. A program that has ended leaves what it wrote only as long
    /// as somebody holds the terminal.
    pub fn read_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        let (mut seen, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while !seen.windows(wanted.len()).any(|window| window == wanted) {
            let shown = || String::from_utf8_lossy(&seen).into_owned();
            assert!(
                Instant::now() < deadline,
                "{:?} is not in {:?}",
                String::from_utf8_lossy(wanted),
                shown()
            );
            let mut some = [0; 4096];
            match self.terminal.read(&mut some) {
                Ok(count) if count > 0 => seen.extend_from_slice(&some[..count]),
                // Nobody has opened it yet, or there is nothing yet.
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        seen
    }
}

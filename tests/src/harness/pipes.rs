//! Unusual standard streams of a program: a pipe that nobody reads, a terminal.

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

/// What is written at once to fill a pipe.
const FULL: &[u8] = &[b'-'; 4096];

/// A full pipe, and how many bytes are in it.
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

/// Sets whether reads and writes of a descriptor block.
pub fn nonblocking(of: &impl AsFd, nonblocking: bool) {
    let mut flags = fcntl_getfl(of).unwrap();
    flags.set(OFlags::NONBLOCK, nonblocking);
    fcntl_setfl(of, flags).unwrap();
}

/// A terminal, from its user's side.
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

    /// The program's side.
    pub fn program(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    /// Reads what programs have written, until it contains `wanted`. What a program wrote before its end is readable
    /// only while somebody holds the terminal open.
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
                // No program has opened it yet, or nothing is written yet.
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        seen
    }
}

//! The input, read ahead by a thread, since a terminal or a pipe may block.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::lines::{LineError, Lines};
use crate::{exit::Exit, failure::Failure, stdio};

/// Lines read ahead of the publisher. The longest allowed line bounds their bytes.
const READ_AHEAD: usize = 256;

/// An open input.
pub struct Input {
    bytes: Box<dyn Read + Send>,
    /// Size of the input, if it is a file.
    pub size: Option<u64>,
}

impl Input {
    /// Opens a file; `-` is stdin.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            let stdin = stdio::stdin().map_err(|error| {
                Failure::new(Exit::Io, format!("cannot read stdin: {error}"), "check the limit of open files")
            })?;
            return Ok(Self { bytes: Box::new(stdin), size: None });
        }
        let what = |error: &std::io::Error| format!("cannot read {}: {error}", path.display());
        match File::open(path) {
            Ok(file) => {
                let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
                Ok(Self { bytes: Box::new(file), size })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::new(Exit::NoInput, what(&error), "name a file that exists, or - for stdin"))
            }
            Err(error) => Err(Failure::new(Exit::Io, what(&error), "check the file and its permissions")),
        }
    }
}

/// Reads the lines of an input in a thread. The channel ends after the last line or after an error.
pub fn read_ahead(input: Input, max_line_bytes: usize) -> mpsc::Receiver<Result<Bytes, LineError>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        for line in Lines::new(input.bytes, max_line_bytes) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl From<LineError> for Failure {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong { .. } => {
                Self::new(Exit::BadData, error, "shorten the line, or raise the queue's limit")
            }
            LineError::Read { .. } => Self::new(Exit::Io, error, "check the input"),
        }
    }
}

//! Lines of an input: raw bytes up to a line feed or the end of the input.

use std::io::{ErrorKind, Read};

use bytes::{Bytes, BytesMut};

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is longer than any message of the queue.
    #[error("line {line} is longer than {limit} bytes")]
    TooLong {
        /// Number of the line, from 1.
        line: u64,
        /// Largest length.
        limit: usize,
    },
    /// Reading the input failed.
    #[error("reading line {line} failed: {source}")]
    Read {
        /// Number of the line, from 1.
        line: u64,
        /// The cause.
        source: std::io::Error,
    },
}

/// Reads lines. Lines of one read share memory.
pub struct Lines<R> {
    input: R,
    /// Buffer of a read, so that the lines of a slow input do not each hold memory for a whole read.
    scratch: Box<[u8]>,
    buffer: BytesMut,
    /// Length of the buffer's begin that contains no line feed.
    searched: usize,
    limit: usize,
    /// Number of returned lines.
    returned: u64,
    /// Whether the input has ended or an error was returned.
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `limit` bytes, without their line feed.
    pub fn new(input: R, limit: usize) -> Self {
        let scratch = vec![0; READ_BYTES].into_boxed_slice();
        Self { input, scratch, buffer: BytesMut::new(), searched: 0, limit, returned: 0, ended: false }
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
            let length = end.map_or(self.buffer.len(), |at| self.searched + at);
            if length > self.limit {
                return Err(LineError::TooLong { line: self.returned + 1, limit: self.limit });
            }
            if end.is_some() {
                let mut line = self.buffer.split_to(length + 1);
                line.truncate(length);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = length;
            if self.read_more()? == 0 {
                self.ended = true;
                self.searched = 0;
                // The last line may have no line feed; after the last line feed there is no empty line.
                return Ok((length > 0).then(|| self.buffer.split().freeze()));
            }
        }
    }

    fn read_more(&mut self) -> Result<usize, LineError> {
        loop {
            match self.input.read(&mut self.scratch) {
                Ok(read) => {
                    self.buffer.extend_from_slice(&self.scratch[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(LineError::Read { line: self.returned + 1, source }),
            }
        }
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Bytes, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.next_line().transpose();
        match &line {
            Some(Ok(_)) => self.returned += 1,
            Some(Err(_)) | None => self.ended = true,
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns its bytes in pieces of one size.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let size = self.1.min(self.0.len());
            let (now, later) = self.0.split_at(size);
            buffer[..size].copy_from_slice(now);
            self.0 = later;
            Ok(size)
        }
    }

    fn lines(input: &[u8], piece: usize) -> Vec<Bytes> {
        Lines::new(Dribble(input, piece), 64).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        for piece in [1, 2, 3, 7, 100] {
            assert_eq!(lines(b"", piece), [""; 0]);
            assert_eq!(lines(b"one", piece), ["one"]);
            assert_eq!(lines(b"one\n", piece), ["one"]);
            assert_eq!(lines(b"one\ntwo", piece), ["one", "two"]);
            assert_eq!(lines(b"\n\n", piece), ["", ""]);
            assert_eq!(lines(b"\r\n\xff\x00\n", piece), [&b"\r"[..], b"\xff\x00"]);
        }
    }

    #[test]
    fn a_line_too_long_is_named_and_ends_the_input() {
        for piece in [1, 7, 1000] {
            let text = [&[b'a'; 64][..], b"\n", &[b'b'; 65], b"\nc\n"].concat();
            let mut lines = Lines::new(Dribble(&text, piece), 64);
            assert_eq!(lines.next().unwrap().unwrap().len(), 64);
            assert!(matches!(lines.next(), Some(Err(LineError::TooLong { line: 2, limit: 64 }))));
            assert!(lines.next().is_none());
        }
    }

    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let mut lines = Lines::new(std::io::repeat(b'a'), 64);
        assert!(matches!(lines.next(), Some(Err(LineError::TooLong { line: 1, .. }))));
    }
}

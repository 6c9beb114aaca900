//! Reads whole files of bounded size.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

/// Reads a file, a pipe or a device to its end; fails beyond `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?, limit)
}

/// Reads to the end; fails beyond `limit` bytes.
pub fn read_from(input: impl io::Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The size in the metadata does not matter: a file may grow meanwhile, and a device has none.
    input.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `limit` bytes. Never blocks on a pipe in its place.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let no_file = || io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
    // Opening a device may have an effect, so check the path first; and check what was opened, since it may be another
    // file.
    if !std::fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    read_from(file, limit)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::ErrorKind, path::Path, process::Command};

    use super::{read, read_regular};

    #[test]
    fn files_are_read_up_to_their_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        for read in [read, read_regular] {
            assert_eq!(read(&path, 5).unwrap(), b"12345");
            let error = read(&path, 4).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), "it is larger than 4 bytes");
            assert_eq!(read(&folder.path().join("none"), 5).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        assert_eq!(read(Path::new("/dev/zero"), 1000).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(read_regular(Path::new("/dev/zero"), 1000).is_err());
    }

    #[test]
    fn a_pipe_without_a_writer_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(read_regular(&path, 5).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(read_regular(folder.path(), 5).unwrap_err().to_string(), "it is not a regular file");
    }
}

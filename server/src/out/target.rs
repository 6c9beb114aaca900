//! What is written to. A write that could wait is not begun before there is room for it; flags are left alone, since other
//! processes may have the same description.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags, fstat},
};

/// What a pipe that is ready takes at once, without waiting and without parting it (`PIPE_BUF`).
const AT_ONCE: usize = 4_096;

#[derive(Debug)]
pub(super) enum Target {
    /// Standard output or standard error.
    Descriptor {
        descriptor: BorrowedFd<'static>,
        /// A file of a disk, which is always ready.
        is_plain: bool,
    },
    File {
        path: PathBuf,
        file: File,
        inode: u64,
    },
}

/// What may be written at once to what others may write to as well: whole lines, if it begins with one that is not too long.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let most = bytes.get(..AT_ONCE).unwrap_or(bytes);
    let end = most.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|end| most.get(..=end)).unwrap_or(most)
}

impl Target {
    pub(super) fn descriptor(descriptor: BorrowedFd<'static>) -> Self {
        let is_plain = fstat(descriptor).is_ok_and(|about| FileType::from_raw_mode(about.st_mode).is_file());
        Self::Descriptor { descriptor, is_plain }
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let mut how = OpenOptions::new();
        how.append(true).create(true).mode(0o600);
        // It may be a pipe by its name, which is opened anew here: nobody else has these flags.
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = how.custom_flags(nonblocking).open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self::File { path: path.to_owned(), file, inode })
    }

    /// Whether there is room, waiting for it so long. What is broken is ready: writing will tell.
    pub(super) fn is_ready(&self, wait: Duration) -> bool {
        let descriptor = match self {
            Self::Descriptor { is_plain: true, .. } => return true,
            Self::Descriptor { descriptor, .. } => *descriptor,
            Self::File { file, .. } => file.as_fd(),
        };
        let wait = Timespec::try_from(wait).ok();
        poll(&mut [PollFd::new(&descriptor, PollFlags::OUT)], wait.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Writes some of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Descriptor { descriptor, is_plain } => {
                let some = if *is_plain { bytes } else { whole_lines(bytes) };
                rustix::io::write(*descriptor, some).map_err(io::Error::from)
            }
            Self::File { file, .. } => file.write(bytes),
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Whether what is there ends in the midst of a line: somebody was killed.
    pub(super) fn is_torn(&self) -> bool {
        let Self::File { path, file, .. } = self else { return false };
        let last =
            file.metadata().ok().filter(Metadata::is_file).and_then(|about| about.len().checked_sub(1));
        let mut byte = [b'\n'];
        // Where it cannot be read, it is taken to be whole.
        let read = |at| File::open(path).and_then(|file| file.read_exact_at(&mut byte, at)).is_ok();
        last.is_some_and(read) && byte != *b"\n"
    }

    /// Begins a new file if the old one was moved away: true if it did.
    pub(super) fn look(&mut self) -> bool {
        let Self::File { path, inode, .. } = self else { return false };
        if fs::metadata(&path).is_ok_and(|found| found.ino() == *inode) {
            return false;
        }
        let opened = Self::file(path);
        self.sync();
        match opened {
            Ok(new) => {
                *self = new;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the access file cannot be opened again; the old one is written on");
                false
            }
        }
    }

    pub(super) fn sync(&self) {
        let Self::File { file, .. } = self else { return };
        // A pipe has nothing to be synced.
        if let Err(error) = file.sync_data()
            && file.metadata().is_ok_and(|about| about.is_file())
        {
            tracing::warn!(%error, "the access file could not be synced");
        }
    }
}

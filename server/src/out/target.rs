//! The file that is written to. A write that could wait is not begun before there is space for it; flags are not
//! changed, since other processes may share the description.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags, fstat},
    io::Errno,
    process::getpgrp,
    termios::{LocalModes, isatty, tcgetattr, tcgetpgrp},
};

use super::stream::Stream;

/// The bytes that a ready pipe accepts at once, without waiting and without splitting them (`PIPE_BUF`).
const AT_ONCE: usize = 4_096;

#[derive(Debug)]
pub(super) enum Target {
    /// Standard output or standard error.
    Descriptor {
        descriptor: BorrowedFd<'static>,
        kind: Kind,
        is_open: bool,
    },
    File {
        path: PathBuf,
        opened: Option<Opened>,
    },
}

/// A file that is open.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A file of a disk, which is always ready.
    Plain,
    Terminal,
    /// A pipe, a socket, a device.
    Other,
}

/// A file, whatever its name: device and inode.
pub(super) type FileId = (u64, u64);

/// The bytes that may be written at once to a file that others write to as well: whole lines, if it begins with one
/// that is not too long.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let max = bytes.get(..AT_ONCE).unwrap_or(bytes);
    let end = max.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|end| max.get(..=end)).unwrap_or(max)
}

/// Whether terminals stop those who write to them in the background: not those who ignore SIGTTOU.
static TERMINALS_STOP: AtomicBool = AtomicBool::new(true);

/// Says whether a terminal may stop this process for writing: not if the process ignores SIGTTOU.
pub fn let_terminals_stop(stop: bool) {
    TERMINALS_STOP.store(stop, Ordering::Relaxed);
}

/// Whether the terminal would stop this process for writing to it: it is in the background, and `stty tostop` is set.
fn would_stop(terminal: BorrowedFd<'_>) -> bool {
    TERMINALS_STOP.load(Ordering::Relaxed)
        && tcgetattr(terminal).is_ok_and(|modes| modes.local_modes.contains(LocalModes::TOSTOP))
        && tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp())
}

impl Kind {
    fn of(descriptor: BorrowedFd<'_>) -> Self {
        if fstat(descriptor).is_ok_and(|about| FileType::from_raw_mode(about.st_mode).is_file()) {
            Self::Plain
        } else if isatty(descriptor) {
            Self::Terminal
        } else {
            Self::Other
        }
    }

    fn write(self, descriptor: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let bytes = match self {
            Self::Plain => bytes,
            Self::Terminal if would_stop(descriptor) => {
                return Err(io::Error::other(
                    "this process is in the background, and its terminal has tostop set",
                ));
            }
            Self::Terminal | Self::Other => whole_lines(bytes),
        };
        match rustix::io::write(descriptor, bytes) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::INTR) => Ok(0),
            other => other.map_err(Into::into),
        }
    }
}

impl Target {
    pub(super) fn stream(stream: Stream) -> Self {
        let descriptor = stream.descriptor();
        Self::Descriptor { descriptor, kind: Kind::of(descriptor), is_open: stream.is_open() }
    }

    #[cfg(test)]
    pub(super) fn descriptor(descriptor: BorrowedFd<'static>) -> Self {
        Self::Descriptor { descriptor, kind: Kind::of(descriptor), is_open: true }
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let opened = match Opened::open(path) {
            Err(error) if is_pipe_without_reader(path, &error) => {
                tracing::warn!(path = %path.display(), "nobody reads the pipe yet: access records wait");
                None
            }
            opened => Some(opened?),
        };
        Ok(Self::File { path: path.to_owned(), opened })
    }

    pub(super) const fn is_open(&self) -> bool {
        !matches!(self, Self::Descriptor { is_open: false, .. })
    }

    pub(super) fn file_id(&self) -> Option<FileId> {
        let about = fstat(self.open_descriptor()?).ok()?;
        Some((about.st_dev, about.st_ino))
    }

    /// The name of a file.
    pub(super) fn path(&self) -> Option<&Path> {
        if let Self::File { path, .. } = self { Some(path) } else { None }
    }

    /// Whether a write would be accepted, after waiting for at most this long. A broken target is ready: writing will
    /// fail.
    pub(super) fn is_ready(&self, wait: Duration) -> bool {
        let Some(descriptor) = self.open_descriptor() else { return true };
        let wait = Timespec::try_from(wait).ok();
        poll(&mut [PollFd::new(&descriptor, PollFlags::OUT)], wait.as_ref()).is_ok_and(|ready| ready > 0)
    }

    fn open_descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Descriptor { is_open: false, .. } | Self::File { opened: None, .. } => None,
            Self::Descriptor { descriptor, .. } => Some(*descriptor),
            Self::File { opened: Some(opened), .. } => Some(opened.file.as_fd()),
        }
    }

    /// Writes some of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Descriptor { is_open: false, .. } => Err(Errno::BADF.into()),
            Self::Descriptor { descriptor, kind, .. } => kind.write(*descriptor, bytes),
            Self::File { opened: None, .. } => Err(Errno::NXIO.into()),
            Self::File { opened: Some(opened), .. } => opened.kind.write(opened.file.as_fd(), bytes),
        }
    }

    /// Whether the file ends within a line: its writer was killed.
    pub(super) fn is_torn(&self) -> bool {
        let Self::File { path, opened: Some(Opened { file, .. }) } = self else { return false };
        let last =
            file.metadata().ok().filter(Metadata::is_file).and_then(|about| about.len().checked_sub(1));
        let mut byte = [b'\n'];
        // A file that cannot be read is assumed to be whole.
        let read = |at| File::open(path).and_then(|file| file.read_exact_at(&mut byte, at)).is_ok();
        last.is_some_and(read) && byte != *b"\n"
    }

    /// Whether there is no file to write to: it was removed, or a pipe has had no reader so far. Bytes that are written
    /// to a file without a name are lost.
    pub(super) fn is_lost(&self) -> bool {
        let Self::File { opened, .. } = self else { return false };
        !opened.as_ref().is_some_and(Opened::has_name)
    }

    /// Whether the name now belongs to another file than the one that is open, or to none.
    pub(super) fn is_moved(&self) -> bool {
        let Self::File { path, .. } = self else { return false };
        let found = fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        found.is_none() || found != self.file_id()
    }

    /// Opens the file by its name again.
    pub(super) fn open_again(&mut self) -> io::Result<()> {
        let Self::File { path, opened } = self else { return Ok(()) };
        if let Some(old) = opened.replace(Opened::open(path)?) {
            old.sync(path);
        }
        Ok(())
    }

    pub(super) fn sync(&self) {
        let Self::File { path, opened: Some(opened) } = self else { return };
        opened.sync(path);
    }
}

/// Nobody reads it yet: a reader may still open it.
fn is_pipe_without_reader(path: &Path, error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
        && fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo())
}

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        let mut how = OpenOptions::new();
        how.append(true).create(true).mode(0o600);
        // It may be a pipe by its name, which is opened again here: nobody else has these flags.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = how.custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).open(path)?;
        let kind = Kind::of(file.as_fd());
        let opened = Self { file, kind };
        if opened.has_name() {
            return Ok(opened);
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed"))
    }

    fn has_name(&self) -> bool {
        // If this fails, writing will show it.
        self.file.metadata().map_or(true, |about| about.nlink() > 0)
    }

    fn sync(&self, path: &Path) {
        // A pipe has nothing to be synced.
        if self.kind == Kind::Plain
            && let Err(error) = self.file.sync_data()
        {
            tracing::warn!(%error, path = %path.display(), "the access file could not be synced");
        }
    }
}

//! The next segment's file, made before it is needed, and written once: a sync of blocks that were never written has to
//! make the file system's own records durable, too, and took 28 times as long for 1 MiB
//! (`docs/adr/0005-log-and-store-past-the-page-cache.md`).

use std::{
    fs::{self, File, OpenOptions},
    io, mem,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use super::{
    LogError,
    disk::{Disk, wants_page_cache, zero},
};

/// Its name until it is a segment.
pub(super) const NAME: &str = "spare.new";

/// A file, written all over, that counts for nothing yet.
#[derive(Debug)]
pub(super) struct PreparedFile {
    pub file: File,
    pub path: PathBuf,
    pub bytes: u64,
    /// It was a segment, and has that one's bytes instead of zeroes.
    pub recycled: bool,
}

/// Makes spares on a thread of its own, one at a time.
#[derive(Debug)]
pub(super) struct Preallocator {
    wanted: Sender<u64>,
    /// Nothing when one could not be made.
    made: Receiver<Option<PreparedFile>>,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Until it is made, no other may be: both would be the same file.
    Making,
    Ready(PreparedFile),
}

impl Preallocator {
    /// Makes them in `dir`. The thread ends when this is dropped.
    pub fn start(disk: Disk, dir: &Path) -> Result<Self, LogError> {
        let (wanted, wishes) = mpsc::channel();
        let (made, preallocator) = mpsc::channel();
        let path = dir.join(NAME);
        let make = move || {
            for bytes in wishes {
                // A segment can be made without a prepared file, and a full disk is reported then.
                let prepared = fill(&disk, &path, bytes)
                    .inspect_err(|error| tracing::debug!(%error, "no log segment is made in advance"));
                if made.send(prepared.ok()).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("log-spares".into()).spawn(make);
        started.map_err(|source| LogError {
            doing: "start the thread that makes segments of",
            path: dir.into(),
            source,
        })?;
        Ok(Self { wanted, made: preallocator, state: State::Idle })
    }

    /// Prepares a file of this many bytes, which will be needed soon.
    pub fn want(&mut self, bytes: u64) {
        self.poll();
        if matches!(self.state, State::Idle) && self.wanted.send(bytes).is_ok() {
            self.state = State::Making;
        }
    }

    /// Whether one is made.
    #[cfg(test)]
    pub fn is_ready(&mut self) -> bool {
        self.poll();
        matches!(self.state, State::Ready(_))
    }

    /// The prepared file, if it has at least this many bytes.
    pub fn acquire(&mut self, min_bytes: u64) -> Option<PreparedFile> {
        self.poll();
        match mem::replace(&mut self.state, State::Idle) {
            State::Ready(prepared) if prepared.bytes >= min_bytes => Some(prepared),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn poll(&mut self) {
        if matches!(self.state, State::Making)
            && let Ok(made) = self.made.try_recv()
        {
            self.state = made.map_or(State::Idle, State::Ready);
        }
    }
}

/// Makes a file of zeroes, all of them on the disk. Never of a file that is there: it may be a segment by now.
pub(super) fn fill(disk: &Disk, path: &Path, bytes: u64) -> io::Result<PreparedFile> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let made =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).and_then(|file| {
            disk.reserve(&file, bytes)?;
            match disk.direct(path, &file).map(|direct| zero(&direct, 0, bytes)) {
                Some(Err(error)) if !wants_page_cache(&error) => return Err(error),
                Some(Ok(())) => {}
                Some(Err(_)) | None => zero(&file, 0, bytes)?,
            }
            disk.sync_new(&file)?;
            Ok(file)
        });
    match made {
        Ok(file) => Ok(PreparedFile { file, path: path.into(), bytes, recycled: false }),
        Err(error) => {
            // It counts for nothing; if it stays, the next attempt removes it.
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

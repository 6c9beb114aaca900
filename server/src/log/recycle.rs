//! Files of trimmed segments, of which the next ones are made: they are as fast as files of zeroes, and need not be
//! written for it. They count for nothing until then.

use std::{
    collections::VecDeque,
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::statvfs;

use super::preallocate::PreparedFile;

/// The extension of a file that waits.
const EXTENSION: &str = "spare";
/// The most files that wait: about what is written from one trim to the next.
const MAX_FILES: usize = 6;

/// The files that wait.
#[derive(Debug)]
pub(super) struct RecycledFiles {
    dir: PathBuf,
    /// The size of each.
    file_bytes: u64,
    /// No file waits unless the disk has this much free space; `None`: no file ever waits.
    above_free_bytes: Option<u64>,
    waiting: Mutex<VecDeque<PathBuf>>,
}

impl RecycledFiles {
    /// Takes over those that were left in `dir`, and removes what may not wait.
    pub fn open(dir: &Path, file_bytes: u64, above_free_bytes: Option<u64>) -> io::Result<Self> {
        let recycled = Self { dir: dir.into(), file_bytes, above_free_bytes, waiting: Mutex::default() };
        let may_wait = recycled.disk_has_space();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            if may_wait && recycled.lock().len() < MAX_FILES && recycled.fits(&path) {
                recycled.lock().push_back(path);
            } else {
                fs::remove_file(&path)?;
            }
        }
        Ok(recycled)
    }

    /// The name under which a segment's file is to wait, if it is.
    pub fn name_for(&self, segment: &Path) -> Option<PathBuf> {
        let name = segment.with_extension(EXTENSION);
        let wanted = self.lock().len() < MAX_FILES && self.disk_has_space() && self.fits(segment);
        // The name of another would be lost.
        (wanted && !name.exists()).then_some(name)
    }

    /// One more waits. No crash may bring its former name back.
    pub fn add(&self, path: PathBuf) {
        self.lock().push_back(path);
    }

    /// Whether any waits.
    pub fn has_any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// A waiting file that has at least this many bytes.
    pub fn acquire(&self, min_bytes: u64) -> Option<PreparedFile> {
        if self.file_bytes < min_bytes {
            return None;
        }
        let path = self.lock().pop_front()?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        // Earlier versions left a segment's mode to the umask.
        let file = file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)).map(|()| file));
        match file.ok().filter(|_| self.fits(&path)) {
            Some(file) => Some(PreparedFile { file, path, bytes: self.file_bytes, recycled: true }),
            None => {
                // A segment can be made without it, and it may be removed.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Removes all waiting files if the disk has little free space.
    pub fn free_disk_space(&self) {
        if !self.disk_has_space() {
            self.lock().retain(|path| match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let file = path.display();
                    tracing::warn!(%file, %error, "a file the log does not need takes room on a nearly full disk");
                    true
                }
                _ => false,
            });
        }
    }

    /// Whether a file can be overwritten: it has the right size, and no second name.
    fn fits(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|about| about.len() == self.file_bytes && about.nlink() == 1)
    }

    fn disk_has_space(&self) -> bool {
        let free = || statvfs(&self.dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        self.above_free_bytes.is_some_and(|least| free().is_ok_and(|free| free >= least))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PathBuf>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

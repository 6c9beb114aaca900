//! Which files are watched, and which of their bytes are not synced yet.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    ffi::{CString, c_int},
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
};

use crate::{
    mirror::{Entry, Extent, Mirror},
    sys::{self, Facts, Id, Kind},
};

static TRACKER: OnceLock<Option<Tracker>> = OnceLock::new();

thread_local! {
    /// Set while this library itself uses files: its calls pass through the hooks too.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls `act` with the tracker, if a folder is watched and the call is not this library's own.
pub(crate) fn with<R>(act: impl FnOnce(&'static Tracker) -> R) -> Option<R> {
    // A thread that is being torn down has no cell any more, and its calls are not watched.
    if INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(true) {
        return None;
    }
    let result = TRACKER.get_or_init(Tracker::from_environment).as_ref().map(act);
    INSIDE.set(false);
    result
}

pub(crate) struct Tracker {
    root: PathBuf,
    root_id: Id,
    device: (u32, u32),
    mirror: Mirror,
    /// The unsynced extent of each watched file. A file that is seen for the first time may be unsynced anywhere.
    unsynced: Mutex<HashMap<Id, Extent>>,
    /// Files and folders whose name is known to be durable.
    linked: Mutex<HashSet<Id>>,
    /// Held while something is copied: a sync may not return before another's copy of the same bytes is made.
    copying: Mutex<()>,
    /// Read by whoever changes a name, written by whoever lists a folder, since a listing is not atomic.
    pub(crate) names: RwLock<()>,
}

impl Tracker {
    fn from_environment() -> Option<Self> {
        let folder = std::env::var_os("POSTHOUSE_POWERCUT_FOLDER")?;
        let mirror_path = std::env::var_os("POSTHOUSE_POWERCUT_MIRROR")?;
        match Self::open(Path::new(&folder), Path::new(&mirror_path)) {
            Ok(tracker) => Some(tracker),
            Err(e) => sys::refuse(&format!("cannot watch {}: {e}", folder.display())),
        }
    }

    fn open(folder: &Path, mirror_path: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(folder)?;
        let facts = facts_at(&root)?;
        let (mirror, new) = Mirror::open(mirror_path, facts.id)?;
        let tracker = Self {
            root,
            root_id: facts.id,
            device: facts.device,
            mirror,
            unsynced: Mutex::default(),
            linked: Mutex::default(),
            copying: Mutex::default(),
            names: RwLock::default(),
        };
        if new {
            tracker.adopt(&tracker.root, facts.id)?;
            tracker.mirror.found(facts.id)?;
        }
        Ok(tracker)
    }

    /// Counts what stands in the folder as durable.
    fn adopt(&self, folder: &Path, id: Id) -> io::Result<()> {
        let entries = self.entries(folder)?;
        for entry in &entries {
            let path = folder.join(&entry.name);
            if entry.kind == Kind::Folder {
                self.adopt(&path, entry.id)?;
            } else {
                let file = File::open(&path)?;
                let size = file.metadata()?.len();
                self.mirror.store(entry.id, &file, Extent::ALL, size)?;
                locked(&self.unsynced).insert(entry.id, Extent::NONE);
            }
        }
        self.mirror.list(id, &entries)
    }

    /// A file was opened for writing.
    pub(crate) fn opened(&self, fd: c_int, flags: c_int) {
        if flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) == 0 {
            return;
        }
        let Some(facts) = self.watchable(fd) else { return };
        if facts.kind == Kind::File && sys::path_of(fd).is_some_and(|path| path.starts_with(&self.root)) {
            let mut unsynced = locked(&self.unsynced);
            if flags & libc::O_TRUNC == 0 {
                unsynced.entry(facts.id).or_insert(Extent::ALL);
            } else {
                unsynced.insert(facts.id, Extent::ALL);
            }
        }
    }

    /// `count` bytes were written, at `offset` or up to the file's position.
    pub(crate) fn wrote(&self, fd: c_int, offset: Option<u64>, count: u64) {
        let Some(id) = self.watched(fd) else { return };
        let start = offset.unwrap_or_else(|| sys::position(fd).saturating_sub(count));
        self.mark(id, Extent { start, end: start.saturating_add(count) });
        if sys::flags(fd) & libc::O_DSYNC != 0 {
            self.synced(fd);
        }
    }

    /// Bytes changed in some other way.
    pub(crate) fn changed(&self, fd: c_int, extent: Extent) {
        if let Some(id) = self.watched(fd) {
            self.mark(id, extent);
        }
    }

    /// A file or folder was synced.
    pub(crate) fn synced(&self, fd: c_int) {
        let Some(facts) = self.watchable(fd) else { return };
        let Some(path) = sys::path_of(fd) else { return };
        // A deleted file has no name under which it could be restored.
        if !path.starts_with(&self.root) || path.as_os_str().as_bytes().ends_with(b" (deleted)") {
            return;
        }
        let copied = match facts.kind {
            Kind::File => self.file_synced(&path, fd, facts.id),
            Kind::Folder => self.folder_synced(&path, facts.id),
            Kind::Other => Ok(()),
        };
        if let Err(e) = copied {
            sys::refuse(&format!("cannot mirror {}: {e}", path.display()));
        }
    }

    /// Whether an open file is watched; for calls that are refused.
    pub(crate) fn watches(&self, fd: c_int) -> bool {
        self.watched(fd).is_some()
    }

    /// Whether a path is inside the watched folder; for calls that are refused.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::canonicalize(parent).is_ok_and(|parent| parent.starts_with(&self.root))
    }

    fn file_synced(&self, path: &Path, fd: c_int, id: Id) -> io::Result<()> {
        let _copying = locked(&self.copying);
        let extent = locked(&self.unsynced).insert(id, Extent::NONE).unwrap_or(Extent::ALL);
        // The program may have opened the file for writing only; by its number it is the same file, whatever its name.
        let file = File::open(format!("/proc/self/fd/{fd}"))?;
        let size = file.metadata()?.len();
        self.mirror.store(id, &file, extent, size)?;
        self.link(path, Kind::File, id)
    }

    fn folder_synced(&self, path: &Path, id: Id) -> io::Result<()> {
        let _copying = locked(&self.copying);
        let entries = {
            let _still = self.names.write().unwrap_or_else(PoisonError::into_inner);
            self.entries(path)?
        };
        self.mirror.list(id, &entries)?;
        locked(&self.linked).extend(entries.iter().map(|entry| entry.id));
        if id == self.root_id { Ok(()) } else { self.link(path, Kind::Folder, id) }
    }

    /// Makes the name of a new file durable, and those of the folders above it.
    fn link(&self, path: &Path, kind: Kind, id: Id) -> io::Result<()> {
        if !locked(&self.linked).insert(id) {
            return Ok(());
        }
        let Some(folder) = path.parent() else { return Ok(()) };
        let folder_id = facts_at(folder)?.id;
        let name = name(path.file_name().unwrap_or_default());
        self.mirror.link(folder_id, &Entry { kind, id, name })?;
        if folder_id == self.root_id { Ok(()) } else { self.link(folder, Kind::Folder, folder_id) }
    }

    fn entries(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in fs::read_dir(folder)? {
            let found = found?;
            let facts = facts_at(&found.path())?;
            if facts.kind == Kind::Other || facts.device != self.device {
                sys::refuse(&format!("{} is neither file nor folder", found.path().display()));
            }
            entries.push(Entry { kind: facts.kind, id: facts.id, name: name(&found.file_name()) });
        }
        Ok(entries)
    }

    fn mark(&self, id: Id, extent: Extent) {
        if let Some(unsynced) = locked(&self.unsynced).get_mut(&id) {
            *unsynced = unsynced.with(extent);
        }
    }

    fn watchable(&self, fd: c_int) -> Option<Facts> {
        sys::facts_of(fd).filter(|facts| facts.kind != Kind::Other && facts.device == self.device)
    }

    fn watched(&self, fd: c_int) -> Option<Id> {
        let facts = self.watchable(fd)?;
        locked(&self.unsynced).contains_key(&facts.id).then_some(facts.id)
    }
}

fn facts_at(path: &Path) -> io::Result<Facts> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    sys::facts_at(&text).ok_or_else(io::Error::last_os_error)
}

fn name(name: &std::ffi::OsStr) -> String {
    match name.to_str() {
        Some(name) if !name.contains('\n') => name.to_owned(),
        _ => sys::refuse(&format!("cannot mirror the name {}", name.display())),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

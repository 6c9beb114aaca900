//! A private folder: only its user can read the files, which are written atomically.
//!
//! The server trusts what is in the folder, keys above all. So no file of another user is read, and no symbolic link is
//! followed in it: where others can write, they may have prepared the folder.

use std::{
    fs::{self, DirBuilder, File, Metadata, TryLockError},
    io::{ErrorKind, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
    process::geteuid,
};

use super::DevError;

/// A file that marks our folder; the process that works in the folder holds a lock on it.
const MARK: &str = ".posthouse-dev";
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Access for the owner only.
const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The folder of a throwaway server, locked by this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    handle: OwnedFd,
    above: Option<String>,
    _lock: File,
}

impl Folder {
    /// Creates the folder, or opens one that this user has created here before.
    pub fn open(root: &Path) -> Result<Self, DevError> {
        let above = check_above(root)?;
        DirBuilder::new().recursive(true).mode(FOLDER_MODE.bits()).create(root).map_err(at(root))?;
        // Absolute, so that nothing depends on the current directory.
        let root = root.canonicalize().map_err(at(root))?;
        let handle = open_folder(CWD, &root, &root)?;
        let mark = root.join(MARK);
        let is_marked = statat(&handle, MARK, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if !is_marked && fs::read_dir(&root).map_err(at(&root))?.next().is_some() {
            return Err(DevError::ForeignFolder(root));
        }
        let lock = open_file(&handle, MARK, OFlags::CREATE | OFlags::RDWR, &mark)?;
        match posthouse_server::store::lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DevError::Locked(root)),
            Err(TryLockError::Error(source)) => return Err(DevError::Io { path: mark, source }),
        }
        fchmod(&handle, FOLDER_MODE).map_err(|error| at(&root)(error.into()))?;
        Ok(Self { root, handle, above, _lock: lock })
    }

    /// A warning about the folders above, for the user.
    pub fn warning(&self) -> Option<&str> {
        self.above.as_deref()
    }

    /// Path of a file or folder in this folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Creates a folder in this folder.
    pub fn make(&self, name: &str) -> Result<(), DevError> {
        let path = self.path(name);
        match mkdirat(&self.handle, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(at(&path)(error.into())),
        }
        let made = open_folder(&self.handle, name, &path)?;
        fchmod(made, FOLDER_MODE).map_err(|error| at(&path)(error.into()))
    }

    /// Refuses a folder in this one with an entry that belongs to another user or is a link. Deeper levels are not
    /// checked: only the owner of an entry can have created what is in it.
    pub fn check_within(&self, name: &str) -> Result<(), DevError> {
        let folder = open_folder(&self.handle, name, &self.path(name))?;
        for entry in fs::read_dir(self.path(name)).map_err(at(&self.path(name)))? {
            let entry = entry.map_err(at(&self.path(name)))?;
            let found = statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let found = found.map_err(|error| refused(error, &entry.path()))?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
                return Err(DevError::Link(entry.path()));
            }
            if found.st_uid != geteuid().as_raw() {
                return Err(DevError::ForeignOwner { path: entry.path(), owner: found.st_uid });
            }
        }
        Ok(())
    }

    /// The text of a file, or `None` if the file does not exist.
    pub fn read(&self, name: &str) -> Result<Option<String>, DevError> {
        let path = self.path(name);
        let (folder, file) = self.split(name)?;
        let opened = match open_file(folder.as_ref().unwrap_or(&self.handle), file, OFlags::RDONLY, &path) {
            Err(DevError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let bytes = posthouse_text::read_from(opened, MAX_FILE_BYTES).map_err(at(&path))?;
        let text = posthouse_text::text(&bytes);
        text.map(|text| Some(text.to_owned()))
            .map_err(|error| at(&path)(std::io::Error::new(ErrorKind::InvalidData, error)))
    }

    /// Writes a file that only its owner can read. A reader sees the old text or the new one.
    pub fn write(&self, name: &str, text: &str) -> Result<(), DevError> {
        let path = self.path(name);
        let (folder, file) = self.split(name)?;
        let folder = folder.as_ref().unwrap_or(&self.handle);
        let draft = format!("{file}.draft");
        // A draft that exists is left over, or was put there by another user.
        match unlinkat(folder, &*draft, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(at(&path)(error.into())),
        }
        let mut written = open_file(folder, &draft, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, &path)?;
        written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).map_err(at(&path))?;
        renameat(folder, &*draft, folder, file).map_err(|error| at(&path)(error.into()))
    }

    /// Splits a name into the folder it is in, unless that is this one, and the name of the file.
    fn split<'a>(&self, name: &'a str) -> Result<(Option<OwnedFd>, &'a str), DevError> {
        match name.split_once('/') {
            None => Ok((None, name)),
            Some((folder, file)) => Ok((Some(open_folder(&self.handle, folder, &self.path(folder))?), file)),
        }
    }
}

/// Refuses a path in which other users can replace folders. Returns a warning about folders of other users.
fn check_above(root: &Path) -> Result<Option<String>, DevError> {
    let root = std::path::absolute(root).map_err(at(root))?;
    if let Ok(link) = root.symlink_metadata()
        && link.is_symlink()
        && link.uid() != geteuid().as_raw()
    {
        return Err(DevError::ForeignOwner { path: root, owner: link.uid() });
    }
    let there = root.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    let resolved = there.canonicalize().map_err(at(there))?;
    let mut warning = None;
    for path in resolved.ancestors().skip(usize::from(there == root)) {
        let metadata = path.metadata().map_err(at(path))?;
        if is_open_to_all(&metadata) {
            return Err(DevError::OpenToAll(path.to_owned()));
        }
        if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
            warning = warning.or_else(|| {
                let owner = metadata.uid();
                Some(format!(
                    "{} belongs to the user {owner}, who can exchange what is below it",
                    path.display()
                ))
            });
        }
    }
    Ok(warning)
}

/// Whether everybody can write to the folder and rename files of others.
fn is_open_to_all(metadata: &Metadata) -> bool {
    metadata.mode() & 0o1002 == 0o002
}

fn open_folder(
    below: impl rustix::fd::AsFd,
    name: impl rustix::path::Arg + Copy,
    path: &Path,
) -> Result<OwnedFd, DevError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(below.as_fd(), name, flags, Mode::empty()).map_err(|error| refused(error, path))?;
    check_owner(&opened, path)?;
    Ok(opened)
}

/// Opens a regular file without following a link.
fn open_file(folder: &OwnedFd, name: &str, how: OFlags, path: &Path) -> Result<File, DevError> {
    let flags = how | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = openat(folder, name, flags, FILE_MODE).map_err(|error| refused(error, path))?;
    check_owner(&opened, path)?;
    if FileType::from_raw_mode(fstat(&opened).map_err(|error| refused(error, path))?.st_mode)
        != FileType::RegularFile
    {
        let source = std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
        return Err(DevError::Io { path: path.to_owned(), source });
    }
    if !how.contains(OFlags::CREATE) && is_writable_to_all(&opened, path)? {
        return Err(DevError::Writable(path.to_owned()));
    }
    if how.contains(OFlags::CREATE) {
        fchmod(&opened, FILE_MODE).map_err(|error| refused(error, path))?;
    }
    Ok(opened.into())
}

fn is_writable_to_all(opened: &OwnedFd, path: &Path) -> Result<bool, DevError> {
    let mode = Mode::from_raw_mode(fstat(opened).map_err(|error| refused(error, path))?.st_mode);
    Ok(mode.contains(Mode::WOTH))
}

fn check_owner(opened: &OwnedFd, path: &Path) -> Result<(), DevError> {
    let owner = fstat(opened).map_err(|error| refused(error, path))?.st_uid;
    if owner != geteuid().as_raw() {
        return Err(DevError::ForeignOwner { path: path.to_owned(), owner });
    }
    Ok(())
}

fn refused(error: Errno, path: &Path) -> DevError {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
        return DevError::Link(path.to_owned());
    }
    at(path)(error.into())
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> DevError {
    let path = path.to_owned();
    |source| DevError::Io { path, source }
}

#[cfg(test)]
mod tests;

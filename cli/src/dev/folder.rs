//! Files that only their owner can read, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::DevError;

/// Its presence tells that a folder is ours; who works in the folder holds a lock on it.
const MARK: &str = ".posthouse-dev";

/// The folder of a throwaway server, held by this process until dropped.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder, or takes one that was made here before.
    pub fn open(root: &Path) -> Result<Self, DevError> {
        private_folder(root)?;
        let mark = root.join(MARK);
        if !mark.exists() && fs::read_dir(root).map_err(at(root))?.next().is_some() {
            return Err(DevError::ForeignFolder(root.to_owned()));
        }
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&mark).map_err(at(&mark))?;
        match posthouse_server::store::lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DevError::Locked(root.to_owned())),
            Err(TryLockError::Error(source)) => return Err(DevError::Io { path: mark, source }),
        }
        fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(at(root))?;
        // Absolute, so that nothing depends on where the process stands.
        let root = root.canonicalize().map_err(at(root))?;
        Ok(Self { root, _lock: lock })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes a folder in it.
    pub fn make(&self, name: &str) -> Result<(), DevError> {
        private_folder(&self.path(name))
    }

    /// The text of a file, or `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<String>, DevError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DevError::Io { path, source }),
        }
    }

    /// Writes a file that only its owner can read. A reader sees the old text or the new one.
    pub fn write(&self, name: &str, text: &str) -> Result<(), DevError> {
        let path = self.path(name);
        write_private(&path, text.as_bytes()).map_err(at(&path))
    }
}

/// Writes a file of mode 0600 under another name, syncs it and moves it into place.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    let draft = PathBuf::from(draft);
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    // A draft that was left behind keeps the mode it had.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Makes a folder, and those above it, of mode 0700.
fn private_folder(path: &Path) -> Result<(), DevError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> DevError {
    let path = path.to_owned();
    |source| DevError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folders_are_private() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(&temporary.path().join("dev")).unwrap();
        folder.make("contexts").unwrap();
        folder.write("contexts/a.key", "secret").unwrap();
        folder.write("contexts/a.key", "secret again").unwrap();
        assert_eq!(mode(&folder.path("")), 0o700);
        assert_eq!(mode(&folder.path("contexts")), 0o700);
        assert_eq!(mode(&folder.path("contexts/a.key")), 0o600);
        assert_eq!(folder.read("contexts/a.key").unwrap().as_deref(), Some("secret again"));
        assert_eq!(folder.read("contexts/b.key").unwrap(), None);
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("thesis.txt"), "irreplaceable").unwrap();
        assert!(matches!(Folder::open(temporary.path()), Err(DevError::ForeignFolder(_))));
    }

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let first = Folder::open(temporary.path()).unwrap();
        assert!(matches!(Folder::open(temporary.path()), Err(DevError::Locked(_))));
        drop(first);
        Folder::open(temporary.path()).unwrap();
    }
}

//! The durable state, in plain files that outlive the program:
//!
//! * `root`: the id of the watched folder
//! * `files/ID`: the durable bytes of a file; absent while nothing of it was synced
//! * `folders/ID`: the durable names of a folder, one a line: `f` or `d`, a space, the id, a space, the name
//!
//! A kill may come between any two system calls. `folders/ID` and `root` are replaced by rename, so each is whole; a
//! file's bytes may be half copied, but then its sync had not returned and nothing was promised.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::sys::{Id, Kind};

/// One name in a folder.
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) id: Id,
    pub(crate) name: String,
}

/// Bytes of a file, from `start` up to `end`.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Extent {
    pub(crate) const NONE: Self = Self { start: u64::MAX, end: 0 };
    pub(crate) const ALL: Self = Self { start: 0, end: u64::MAX };

    /// The smallest extent over both. What lies between is durable already, so copying it again changes nothing.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

pub(crate) struct Mirror {
    home: PathBuf,
}

impl Mirror {
    /// Opens the mirror, and returns whether it is new.
    pub(crate) fn open(home: &Path, root: Id) -> io::Result<(Self, bool)> {
        let mirror = Self { home: home.to_owned() };
        match fs::read_to_string(home.join("root")) {
            Ok(known) if known == root.to_string() => Ok((mirror, false)),
            Ok(_) => Err(io::Error::other("the mirror belongs to another folder")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(home.join("files"))?;
                fs::create_dir_all(home.join("folders"))?;
                Ok((mirror, true))
            }
            Err(e) => Err(e),
        }
    }

    /// Makes the mirror valid: from now on a restore starts at `root`.
    pub(crate) fn found(&self, root: Id) -> io::Result<()> {
        self.replace(&self.home.join("root"), &root.to_string())
    }

    /// Copies an extent of the file, and its length.
    pub(crate) fn store(&self, id: Id, from: &File, extent: Extent, size: u64) -> io::Result<()> {
        let path = self.home.join("files").join(id.to_string());
        let to = File::options().create(true).truncate(false).write(true).open(path)?;
        to.set_len(size)?;
        let mut buffer = vec![0; 1 << 16];
        let mut at = extent.start;
        let end = extent.end.min(size);
        while at < end {
            let wanted = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count = from.read_at(&mut buffer[..wanted], at)?;
            if count == 0 {
                break;
            }
            to.write_all_at(&buffer[..count], at)?;
            at += count as u64;
        }
        Ok(())
    }

    /// Replaces a folder's durable names.
    pub(crate) fn list(&self, folder: Id, entries: &[Entry]) -> io::Result<()> {
        let lines: String = entries.iter().map(line).collect();
        self.replace(&self.folder(folder), &lines)
    }

    /// Adds one durable name, unless the folder has the file under any name.
    pub(crate) fn link(&self, folder: Id, entry: &Entry) -> io::Result<()> {
        let path = self.folder(folder);
        let mut lines = match fs::read_to_string(&path) {
            Ok(lines) => lines,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e),
        };
        let id = entry.id.to_string();
        if lines.lines().any(|known| known.split(' ').nth(1) == Some(&id)) {
            return Ok(());
        }
        // Another file may have had the name before.
        let others = lines.lines().filter(|known| known.splitn(3, ' ').nth(2) != Some(&entry.name));
        lines = others.map(|known| format!("{known}\n")).collect();
        lines.push_str(&line(entry));
        self.replace(&path, &lines)
    }

    fn folder(&self, id: Id) -> PathBuf {
        self.home.join("folders").join(id.to_string())
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = self.home.join("new");
        fs::write(&new, text)?;
        fs::rename(&new, path)
    }
}

fn line(entry: &Entry) -> String {
    let letter = if entry.kind == Kind::Folder { 'd' } else { 'f' };
    format!("{letter} {} {}\n", entry.id, entry.name)
}

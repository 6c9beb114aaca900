//! Power cuts: runs a program so that what it has not synced can be removed.
//!
//! The preload library `posthouse-powercut` keeps a mirror of what is durable; its `mirror` module describes the
//! layout.
//! After the program was killed, [`PowerCut::strike`] rebuilds the folder from the mirror alone.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::binaries;

/// The bytes that a disk writes as a whole.
const PAGE: usize = 4096;

/// A folder whose power can be cut.
pub struct PowerCut {
    folder: PathBuf,
    mirror: PathBuf,
}

/// What happens to bytes that were written and not synced.
#[derive(Clone, Copy, Debug)]
pub enum Unsynced {
    /// All of them are lost.
    Dropped,
    /// The seed decides how many of each file's bytes, from its beginning, are on disk; the rest is lost.
    Torn(u64),
    /// The seed decides which pages of each file are on disk, in no order.
    Scattered(u64),
}

/// What a power cut removed.
#[derive(Debug, Default)]
pub struct Lost {
    /// Files whose name was not durable.
    pub files: usize,
    /// Bytes of the other files that were not durable.
    pub bytes: u64,
}

impl PowerCut {
    /// Watches an existing folder; the mirror is kept beside it.
    pub fn watch(folder: &Path) -> Self {
        let mut mirror = folder.as_os_str().to_owned();
        mirror.push(".mirror");
        Self { folder: folder.to_owned(), mirror: mirror.into() }
    }

    /// Makes a program maintain the mirror.
    pub fn arm(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", binaries::powercut_library())
            .env("POSTHOUSE_POWERCUT_FOLDER", &self.folder)
            .env("POSTHOUSE_POWERCUT_MIRROR", &self.mirror);
    }

    /// Cuts the power: leaves in the folder what is durable. The program must have ended.
    pub fn strike(&self, unsynced: Unsynced) -> io::Result<Lost> {
        let root = match fs::read_to_string(self.mirror.join("root")) {
            Ok(root) => root,
            // The program was killed before it made the mirror, which is its first step.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::remove_dir_all(&self.mirror).or_else(absent)?;
                return Ok(Lost::default());
            }
            Err(e) => return Err(e),
        };
        let written = ids(&self.folder)?;
        let mut rebuilt = self.folder.as_os_str().to_owned();
        rebuilt.push(".rebuilt");
        let rebuilt = PathBuf::from(rebuilt);
        let mut rebuild =
            Rebuild { mirror: &self.mirror, written, tear: tear(unsynced), lost: Lost::default() };
        rebuild.folder(&root, &rebuilt)?;
        // The files that are left have no durable name.
        rebuild.lost.files += rebuild.written.len();
        fs::remove_dir_all(&self.folder)?;
        fs::rename(&rebuilt, &self.folder)?;
        // The mirror's inodes no longer exist; the next program makes a new mirror.
        fs::remove_dir_all(&self.mirror)?;
        Ok(rebuild.lost)
    }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Writes back some of the pages that were not synced.
type Keep = fn(&mut StdRng, &Path, &[Page]) -> io::Result<()>;

/// A page of a file, and its offset.
type Page = (u64, Vec<u8>);

fn tear(unsynced: Unsynced) -> Option<(StdRng, Keep)> {
    match unsynced {
        Unsynced::Dropped => None,
        Unsynced::Torn(seed) => Some((StdRng::seed_from_u64(seed), keep_beginning)),
        Unsynced::Scattered(seed) => Some((StdRng::seed_from_u64(seed), keep_any)),
    }
}

struct Rebuild<'a> {
    mirror: &'a Path,
    /// The written files by id, without those that are rebuilt already.
    written: HashMap<String, PathBuf>,
    tear: Option<(StdRng, Keep)>,
    lost: Lost,
}

impl Rebuild<'_> {
    fn folder(&mut self, id: &str, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        let names = match fs::read_to_string(self.mirror.join("folders").join(id)) {
            Ok(names) => names,
            // Its name is durable, but none of its bytes.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for line in names.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(kind), Some(id), Some(name)) = (words.next(), words.next(), words.next()) else {
                return Err(io::Error::other(format!("the mirror has a line {line:?}")));
            };
            let path = path.join(name);
            if kind == "d" { self.folder(id, &path)? } else { self.file(id, &path)? }
        }
        Ok(())
    }

    fn file(&mut self, id: &str, path: &Path) -> io::Result<()> {
        let durable = self.mirror.join("files").join(id);
        // A file that was never synced has a name and no bytes.
        let exists = durable.exists();
        if exists {
            fs::copy(&durable, path).map(|_| ())?
        } else {
            fs::write(path, "")?
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let Some(written) = self.written.remove(id) else { return Ok(()) };
        let differing = differing(&File::open(path)?, &File::open(&written)?)?;
        self.lost.bytes += differing.iter().map(|(_, page)| page.len() as u64).sum::<u64>();
        match &mut self.tear {
            Some((random, keep)) => keep(random, path, &differing),
            None => Ok(()),
        }
    }
}

/// Any of the pages.
fn keep_any(random: &mut StdRng, path: &Path, pages: &[Page]) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let mut written_pages = pages.iter().filter(|_| random.random_bool(0.5));
    written_pages.try_for_each(|(at, page)| file.write_all_at(page, *at))
}

/// Writes back the first pages, and a part of the one after them.
fn keep_beginning(random: &mut StdRng, path: &Path, pages: &[Page]) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let whole = random.random_range(0..=pages.len());
    for (at, page) in &pages[..whole] {
        file.write_all_at(page, *at)?;
    }
    if let Some((at, page)) = pages.get(whole) {
        let part = random.random_range(0..=page.len());
        file.write_all_at(&page[..part], *at)?;
    }
    Ok(())
}

/// The pages of `written` that differ from the durable file.
fn differing(durable: &File, written: &File) -> io::Result<Vec<Page>> {
    let mut found = Vec::new();
    let (mut here, mut there) = (vec![0; PAGE], vec![0; PAGE]);
    let mut at = 0;
    loop {
        let count = fill(written, &mut there, at)?;
        if count == 0 {
            return Ok(found);
        }
        let known = fill(durable, &mut here, at)?;
        if there[..count] != here[..known.min(count)] {
            found.push((at, there[..count].to_vec()));
        }
        at += count as u64;
    }
}

fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Every file below a folder, by the id that the mirror has for it.
fn ids(folder: &Path) -> io::Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        if facts.is_dir() {
            found.extend(ids(&entry.path())?);
            continue;
        }
        let born = facts.created()?.duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
        let id = format!("{}-{}.{:09}", facts.ino(), born.as_secs(), born.subsec_nanos());
        found.insert(id, entry.path());
    }
    Ok(found)
}

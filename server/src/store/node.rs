//! The data folder: used by one process at a time, with a file that names its node.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::lock::lock_patiently;

/// The newest format of the data folder that this code reads, and the one it writes. Since 2, bodies are stored in
/// packs; since 3, producer sessions have the runs of their refused messages; since 4, requests are remembered, a purge
/// ends leases, shown times are stored, and departments may be set aside; since 5, producer sessions are stored in the
/// order of their use.
const FORMAT: u32 = 5;
const NODE: &str = "NODE";
const LOCK: &str = "LOCK";
const LOG: &str = "log";
const STORE: &str = "store";

/// An id that is made once, at random: a node's, or its cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(pub u128);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A data folder that this process has for itself until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    node: Node,
    /// None of a folder that has no lock file, and is only inspected.
    _lock: Option<File>,
}

/// A data folder was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file or folder could not be read or written.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error(
        "the data folder {} is in use by another process; stop it first, or choose another folder \
         (a folder must never be shared)",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder was made by a newer Posthouse.
    #[error(
        "the data folder {} has format {found}, but this Posthouse knows formats up to {FORMAT}; \
         start the version that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The folder was made with another number of shards.
    #[error(
        "the data folder {} was made with {found} shards, but {wanted} are configured; the number can never be \
         changed: set `shards = {found}` under [server]",
        path.display()
    )]
    OtherShards {
        /// The folder.
        path: PathBuf,
        /// The number of shards it was made with.
        found: u16,
        /// The configured number of shards.
        wanted: u16,
    },
    /// The file that names the node cannot be read.
    #[error(
        "{} is damaged; keep a copy of the data folder, check the disk, and restore the folder from a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// There is data, but no file that names its node.
    #[error(
        "the data folder {} holds data but its NODE file is missing; put the file back or restore the folder from a \
         backup; for a new server choose an empty folder",
        path.display()
    )]
    NodeMissing {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is empty, or another program's.
    #[error(
        "{} is no data folder: it has no NODE file, no log and no store; name the folder of `data_dir`",
        path.display()
    )]
    NoData {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has been served from, and its log is missing.
    #[error(
        "the log in {} is gone, and with it what was acknowledged last; put its files back or restore the whole data \
         folder from a backup",
        path.display()
    )]
    LogMissing {
        /// The log's folder.
        path: PathBuf,
    },
}

impl DataDir {
    /// Takes the data folder, which is made if it is not there. `shards` is fixed then.
    ///
    /// # Errors
    /// When the folder is in use, damaged, of a newer format, or was made with another number of shards.
    pub fn open(path: &Path, shards: u16) -> Result<Self, DataDirError> {
        make_private(path)?;
        let lock = lock(path)?;
        let node = match read_node(path)? {
            Some(node) => node,
            None => create(path, shards)?,
        };
        if node.shards != shards {
            return Err(DataDirError::OtherShards { path: path.into(), found: node.shards, wanted: shards });
        }
        let log = path.join(LOG);
        if node.log_begun && !has_entries(&log)? {
            return Err(DataDirError::LogMissing { path: log });
        }
        make_private(&log)?;
        make_private(&path.join(STORE))?;
        let node = renewed(path, node)?;
        Ok(Self { path: path.into(), node, _lock: Some(lock) })
    }

    /// Opens a data folder for an inspection: nothing is made or changed, and no server starts on it meanwhile.
    ///
    /// # Errors
    /// When the folder is not there, in use, damaged, of a newer format, or no data folder.
    pub fn inspect(path: &Path) -> Result<Self, DataDirError> {
        if let Err(source) = fs::read_dir(path) {
            return Err(DataDirError::Io { doing: "read the folder", path: path.into(), source });
        }
        let file = path.join(LOCK);
        let lock = match File::open(&file) {
            Ok(lock) => Some(locked(lock, path)?),
            // Copied from elsewhere, perhaps.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(DataDirError::Io { doing: "lock", path: file, source }),
        };
        let Some(node) = read_node(path)? else {
            let any = has_entries(&path.join(LOG))? || has_entries(&path.join(STORE))?;
            let path = path.to_path_buf();
            return Err(if any { DataDirError::NodeMissing { path } } else { DataDirError::NoData { path } });
        };
        if node.log_begun && !has_entries(&path.join(LOG))? {
            return Err(DataDirError::LogMissing { path: path.join(LOG) });
        }
        Ok(Self { path: path.into(), node, _lock: lock })
    }

    /// Takes a folder that was inspected for writing, too: it has a lock from now on, and says that it has the newest
    /// format.
    ///
    /// # Errors
    /// When the lock or the NODE file cannot be written, or a server has begun on a folder that had no lock.
    pub fn claim(&mut self) -> Result<(), DataDirError> {
        if self._lock.is_none() {
            self._lock = Some(lock(&self.path)?);
        }
        self.node = renewed(&self.path, self.node)?;
        Ok(())
    }

    /// Remembers that the log has begun: from now on a folder without one is refused.
    ///
    /// # Errors
    /// When the NODE file cannot be written.
    pub fn log_has_begun(&mut self) -> Result<(), DataDirError> {
        if self.node.log_begun {
            return Ok(());
        }
        let node = Node { log_begun: true, ..self.node };
        write_node(&self.path, node)?;
        self.node = node;
        Ok(())
    }

    /// Whether a server has begun its log here.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.node.log_begun
    }

    /// The log's folder.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// The store's folder.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node.id
    }

    /// The cluster the node belongs to.
    #[must_use]
    pub fn cluster(&self) -> NodeId {
        self.node.cluster
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.node.shards
    }
}

/// The content of the NODE file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    format: u32,
    id: NodeId,
    cluster: NodeId,
    shards: u16,
    /// The log has its first segment.
    log_begun: bool,
}

impl Node {
    fn encode(&self) -> String {
        let log = if self.log_begun { "begun" } else { "none" };
        let text = format!(
            "posthouse node\nformat {}\nnode {}\ncluster {}\nshards {}\nlog {log}\n",
            self.format, self.id, self.cluster, self.shards
        );
        format!("{text}checksum {:08x}\n", crc32c::crc32c(text.as_bytes()))
    }

    /// Reads what [`encode`](Self::encode) wrote, to the byte; fails with the format if that is newer.
    fn decode(bytes: &[u8]) -> Result<Self, Option<u32>> {
        let text = std::str::from_utf8(bytes).map_err(|_| None)?;
        let field = |nth: usize, name: &str| text.lines().nth(nth)?.strip_prefix(name)?.strip_prefix(' ');
        let format: u32 = field(1, "format").and_then(|format| format.parse().ok()).ok_or(None)?;
        if format > FORMAT && text.starts_with("posthouse node\n") {
            return Err(Some(format));
        }
        let id = |nth, name| Some(NodeId(u128::from_str_radix(field(nth, name)?, 16).ok()?));
        let node = (|| {
            let shards = field(4, "shards")?.parse().ok()?;
            let log_begun = field(5, "log")? == "begun";
            Some(Self { format, id: id(2, "node")?, cluster: id(3, "cluster")?, shards, log_begun })
        })();
        node.filter(|node| format > 0 && node.encode().as_bytes() == bytes).ok_or(None)
    }
}

/// Makes a folder that only its owner can read, and its name durable.
fn make_private(path: &Path) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::Io { doing: "make the folder", path: path.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    sync_dir(parent).map_err(failed)
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join(LOCK);
    let failed = |source| DataDirError::Io { doing: "lock", path: file.clone(), source };
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file)
        .map_err(failed)?;
    locked(lock, path)
}

fn locked(lock: File, path: &Path) -> Result<File, DataDirError> {
    match lock_patiently(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => {
            Err(DataDirError::Io { doing: "lock", path: path.join(LOCK), source })
        }
    }
}

/// Says that the folder has the newest format, before anything is written in it that older versions do not know.
fn renewed(path: &Path, node: Node) -> Result<Node, DataDirError> {
    if node.format == FORMAT {
        return Ok(node);
    }
    let node = Node { format: FORMAT, ..node };
    write_node(path, node)?;
    Ok(node)
}

/// The content of the NODE file, if there is one.
fn read_node(path: &Path) -> Result<Option<Node>, DataDirError> {
    let file = path.join(NODE);
    match fs::read(&file) {
        Ok(bytes) => Node::decode(&bytes).map(Some).map_err(|error| match error {
            None => DataDirError::Damaged { path: file },
            Some(found) => DataDirError::Newer { path: path.into(), found },
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::Io { doing: "read", path: file, source }),
    }
}

/// Writes the NODE file of a new folder: all of it or nothing, before anything else.
fn create(path: &Path, shards: u16) -> Result<Node, DataDirError> {
    for data in [LOG, STORE] {
        if has_entries(&path.join(data))? {
            return Err(DataDirError::NodeMissing { path: path.into() });
        }
    }
    let (id, cluster) = (NodeId(rand::random()), NodeId(rand::random()));
    let node = Node { format: FORMAT, id, cluster, shards, log_begun: false };
    write_node(path, node)?;
    Ok(node)
}

/// Whether the folder is there and holds anything.
fn has_entries(folder: &Path) -> Result<bool, DataDirError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(any) => Ok(any),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(DataDirError::Io { doing: "read the folder", path: folder.into(), source }),
    }
}

fn write_node(path: &Path, node: Node) -> Result<(), DataDirError> {
    let (file, new) = (path.join(NODE), path.join("NODE.new"));
    let written = (|| {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(node.encode().as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, &file)?;
        sync_dir(path)
    })();
    written.map_err(|source| DataDirError::Io { doing: "write", path: file, source })
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;

//! Hears of changes in the folders of files.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;
use tracing::warn;

/// Folders that are watched for as long as it lives.
#[derive(Debug)]
pub(super) struct Watch {
    changes: Arc<Notify>,
    /// Absent if the system does not report changes.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch the folders of these files. Without the system's help, files are only read now and then.
    pub(super) fn begin(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let changes = Arc::new(Notify::new());
        let watcher = watch(&folders(files), Arc::clone(&changes));
        let text = "the system does not tell of changed files; they are read again every minute";
        let watcher = watcher.map_err(|why| warn!(%why, "{text}")).ok();
        Self { changes, _watcher: watcher }
    }

    /// Returns when something has changed since the last time.
    pub(super) async fn changed(&self) {
        self.changes.notified().await;
    }
}

type Folders = BTreeMap<PathBuf, BTreeSet<OsString>>;

fn folders(files: impl IntoIterator<Item = PathBuf>) -> Folders {
    let mut folders = Folders::new();
    for file in files {
        if let Some(name) = file.file_name() {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            folders
                .entry(folder.unwrap_or_else(|| Path::new(".")).to_owned())
                .or_default()
                .insert(name.to_owned());
        }
    }
    folders
}

fn watch(folders: &Folders, changes: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let names: BTreeSet<OsString> = folders.values().flatten().cloned().collect();
    let on_event = move |event: notify::Result<Event>| {
        // An error means that events may have been lost.
        if event.is_ok_and(|event| !is_of_interest(&event, &names)) {
            return;
        }
        changes.notify_one();
    };
    let mut watcher = notify::recommended_watcher(on_event)?;
    for folder in folders.keys() {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Whether one of the files may have changed. Other files, the server's own log for one, may be in their folders, and
/// reading a file is an event too.
fn is_of_interest(event: &Event, names: &BTreeSet<OsString>) -> bool {
    if matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write)) {
        return false;
    }
    let is_ours = |path: &PathBuf| {
        let Some(name) = path.file_name() else { return true };
        // Kubernetes has the files in folders with names that begin so, and swaps a link to the one in use.
        names.contains(name) || name.to_string_lossy().starts_with("..")
    };
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(is_ours)
}

//! Opening a log: reading all of it, refusing what is damaged, replaying what the store has not yet.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, FileExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    CommitSink, Entry, GroupId, LogError,
    disk::{Disk, sync_dir, zero},
    errors::{LogOpenError, ReplayError},
    format::{Record, SegmentHeader},
    local::LocalLog,
    options::LocalLogOptions,
    sealed::Sealed,
    segment::{self, End, Tail},
    writer::Writer,
};

/// A log that was read and found whole, and accepts no proposals yet.
#[derive(Debug)]
pub struct OpenLog {
    dir: PathBuf,
    options: LocalLogOptions,
    segments: Vec<OpenSegment>,
    groups: BTreeMap<GroupId, Group>,
}

#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    file: File,
    header: SegmentHeader,
    last: BTreeMap<GroupId, u64>,
    end: End,
}

/// The entries of a group: the index before the first, and where each one's data is.
#[derive(Debug, Default)]
struct Group {
    base: u64,
    entries: Vec<Locator>,
}

#[derive(Debug, Clone, Copy)]
struct Locator {
    at: u64,
    segment: u32,
    len: u32,
}

impl Group {
    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn add(&mut self, segment: u32, start: u64, record: &Record) -> Result<(), String> {
        if record.index != self.last() + 1 {
            return Err(format!("entry {} of {} follows entry {}", record.index, record.group, self.last()));
        }
        self.entries.push(Locator { at: start + record.at as u64, segment, len: record.len });
        Ok(())
    }
}

impl OpenLog {
    /// The first and the last index the log has of each group it knows. A group whose entries were all trimmed has a
    /// first index one above its last.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<GroupId, (u64, u64)> {
        self.groups.iter().map(|(id, group)| (*id, (group.base + 1, group.last()))).collect()
    }

    /// Refuses a store whose applied indices do not lie within the log. A group that is not named has applied nothing.
    ///
    /// # Errors
    /// [`LogOpenError::StoreAhead`] or [`LogOpenError::StoreBehind`].
    pub fn check_applied(&self, applied: &BTreeMap<GroupId, u64>) -> Result<(), LogOpenError> {
        for (group, applied) in applied {
            let last = self.groups.get(group).map_or(0, Group::last);
            if *applied > last {
                return Err(LogOpenError::StoreAhead { group: *group, applied: *applied, last });
            }
        }
        for (id, group) in &self.groups {
            let applied = applied.get(id).copied().unwrap_or_default();
            if applied < group.base {
                return Err(LogOpenError::StoreBehind { group: *id, applied, first: group.base + 1 });
            }
        }
        Ok(())
    }

    /// Its segments, and the bytes of whole groups in them.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.segments.len(), self.segments.iter().map(|segment| segment.end.at).sum())
    }

    /// A last group that was never finished: its file, where it begins, and how many bytes of it were written (in a
    /// file that is used again: may have been).
    pub(crate) fn torn_tail(&self) -> Option<(&Path, u64, u64)> {
        self.segments.last().and_then(|open| match open.end.tail {
            Tail::Torn { until } => Some((open.path.as_path(), open.end.at, until - open.end.at)),
            Tail::Clean | Tail::Sealed => None,
        })
    }

    /// Hands over the group's entries after `after_index`, in order.
    ///
    /// # Errors
    /// When the log cannot be read, or `apply` fails.
    pub fn replay<E>(
        &self,
        group: GroupId,
        after_index: u64,
        apply: &mut dyn FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), ReplayError<E>> {
        let Some(found) = self.groups.get(&group) else { return Ok(()) };
        let skip = usize::try_from(after_index.saturating_sub(found.base)).unwrap_or(usize::MAX);
        for (nth, locator) in found.entries.iter().enumerate().skip(skip) {
            let segment = &self.segments[locator.segment as usize];
            let mut data = vec![0; locator.len as usize];
            segment.file.read_exact_at(&mut data, locator.at).map_err(|source| {
                ReplayError::Read(LogError {
                    doing: "read the log segment",
                    path: segment.path.clone(),
                    source,
                })
            })?;
            let index = found.base + 1 + nth as u64;
            apply(Entry { group, index, data: data.into() }).map_err(ReplayError::Apply)?;
        }
        Ok(())
    }

    /// Cuts a torn tail, if there is one, makes sure that everything read is durable (a process that was killed may
    /// have left it to the operating system), and accepts proposals.
    ///
    /// # Errors
    /// When a file or the committer's thread could not be made.
    pub fn start(self, sink: Arc<dyn CommitSink>) -> Result<LocalLog, LogOpenError> {
        let options = self.options.clone();
        Ok(LocalLog::start(self.into_writer()?, sink, &options)?)
    }

    pub(super) fn into_writer(mut self) -> Result<Writer, LogError> {
        let disk = Disk::new(&self.options);
        let bytes = self.segments.iter().map(|segment| segment.end.at).sum();
        let last = self.groups.iter().map(|(id, group)| (*id, group.last())).collect();
        let writer = match self.segments.pop() {
            None => Writer::create(disk, self.dir, &self.options, last)?,
            Some(open) => {
                settle(&disk, &self.dir, &open)?;
                Writer::resume(disk, self.dir, &self.options, open.into_active(), last)?
            }
        };
        let sealed = self.segments.into_iter().map(|open| Sealed { path: open.path, last: open.last });
        writer.remember(sealed.collect(), bytes);
        Ok(writer)
    }
}

impl OpenSegment {
    fn into_active(self) -> super::writer::Active {
        super::writer::Active {
            path: self.path,
            file: self.file,
            header: self.header,
            end: self.end.at,
            sequence: self.end.sequence,
            unproven: self.end.unproven,
            last: self.last,
        }
    }
}

/// Makes the folder if it is not there, and reads the whole log.
pub(super) fn open(dir: &Path, options: LocalLogOptions) -> Result<OpenLog, LogOpenError> {
    let failed = |source| LogError { doing: "make the folder of the log", path: dir.into(), source };
    let parent =
        dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.and_then(|()| sync_dir(parent)).map_err(failed)?;
    read(dir, options, OpenOptions::new().read(true).write(true))
}

/// Reads the whole log, and can change nothing of it: what is returned must not be started.
pub(super) fn inspect(dir: &Path) -> Result<OpenLog, LogOpenError> {
    read(dir, LocalLogOptions::default(), OpenOptions::new().read(true))
}

fn read(dir: &Path, options: LocalLogOptions, how: &OpenOptions) -> Result<OpenLog, LogOpenError> {
    let io = |doing| move |source| LogError { doing, path: dir.into(), source };
    let mut files = Vec::new();
    for (id, path) in segment::list(dir).map_err(io("read the folder of the log"))? {
        let file = how.open(&path).map_err(|source| LogError {
            doing: "open the log segment",
            path: path.clone(),
            source,
        })?;
        let header = segment::read_header(&file, &path, id)?;
        files.push((path, file, header));
    }
    check_chain(dir, &files)?;

    let mut log = OpenLog { dir: dir.into(), options, segments: Vec::new(), groups: BTreeMap::new() };
    let vouched: Vec<_> = files.iter().skip(1).map(|(_, _, header)| header.previous_sequence).collect();
    for (nth, (path, file, header)) in files.into_iter().enumerate() {
        let known = log.groups.iter().map(|(id, group)| (*id, group.last()));
        if nth == 0 {
            let first = |(id, base): (&GroupId, &u64)| (*id, Group { base: *base, entries: Vec::new() });
            log.groups = header.base.iter().map(first).collect();
        } else if !known.eq(header.base.iter().map(|(id, last)| (*id, *last))) {
            return Err(LogOpenError::damaged(
                &path,
                0,
                "it does not continue where the segment before it ended",
            ));
        }
        let mut last = BTreeMap::new();
        let number = u32::try_from(nth).unwrap_or(u32::MAX);
        let end = segment::scan(&file, &path, &header, vouched.get(nth).copied(), &mut |start, records| {
            for record in records {
                log.groups.entry(record.group).or_default().add(number, start, record)?;
                last.insert(record.group, record.index);
            }
            Ok(())
        })?;
        log.segments.push(OpenSegment { path, file, header, last, end });
    }
    if let Some(open) = log.segments.last()
        && open.end.tail == Tail::Sealed
    {
        return Err(LogOpenError::Missing { path: segment::path_of(dir, open.header.id + 1) });
    }
    Ok(log)
}

/// Every segment continues the one before it.
fn check_chain(dir: &Path, files: &[(PathBuf, File, SegmentHeader)]) -> Result<(), LogOpenError> {
    for ((_, _, before), (path, _, after)) in files.iter().zip(files.iter().skip(1)) {
        if after.id != before.id + 1 {
            return Err(LogOpenError::Missing { path: segment::path_of(dir, before.id + 1) });
        }
        if after.previous_nonce != before.nonce || after.previous_sequence < before.previous_sequence {
            return Err(LogOpenError::damaged(path, 0, "it is not the successor of the segment before it"));
        }
    }
    Ok(())
}

/// Removes a group that was never finished, so that no later start has to judge it again, and syncs what is there.
fn settle(disk: &Disk, dir: &Path, open: &OpenSegment) -> Result<(), LogError> {
    let failed = |source| LogError { doing: "sync the log segment", path: open.path.clone(), source };
    if let Tail::Torn { until } = open.end.tail {
        tracing::warn!(
            segment = %open.path.display(),
            at = open.end.at,
            bytes = until - open.end.at,
            "the log's last group was not complete and is cut; nobody was told that it was stored"
        );
        zero(&open.file, open.end.at, until).map_err(failed)?;
    }
    disk.sync(&open.file).and_then(|()| disk.sync_dir(dir)).map_err(failed)
}

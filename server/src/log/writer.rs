//! The end of the log: groups are written to a segment and synced, and the next segment is begun.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Entry, GroupId, LogError,
    aligned::Aligned,
    disk::{Disk, is_no_space, wants_page_cache},
    format::{BLOCK, GroupPosition, Kind, RECORD_HEADER, SegmentHeader, encode_group, group_len},
    options::{LocalLogOptions, Watched},
    preallocate::Preallocator,
    queue::Proposal,
    recycle::RecycledFiles,
    sealed::{Sealed, SealedSegments},
    segment,
};

/// The first segment of a log is small: most test servers, and some real ones, never fill more. Later ones are prepared
/// while it is written, and grow so that there is time for it.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// How many times as large as the one before it a segment is that is made in advance, up to the size of all.
const GROWTH: u64 = 4;

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub path: PathBuf,
    pub file: File,
    pub header: SegmentHeader,
    /// The end of the last durable group.
    pub end: u64,
    /// The last durable group.
    pub sequence: u64,
    /// Whether the last group holds entries and nothing behind it proves it to be durable.
    pub unproven: bool,
    /// The last index of each shard's entries in this segment.
    pub last: BTreeMap<GroupId, u64>,
}

/// Why a group was not written.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The disk is full; the log is as it was.
    NoSpace,
    /// Nobody knows what the disk has.
    Fatal(LogError),
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Disk,
    dir: PathBuf,
    segment_bytes: u64,
    active: Active,
    last: BTreeMap<GroupId, u64>,
    sealed: Arc<SealedSegments>,
    buffer: Aligned,
    /// The active segment's second handle, for groups; nothing where they go through the page cache.
    direct: Option<File>,
    direct_writes: bool,
    watch: Watched,
    /// How long the last write and its sync took in sum, and from when on that is slow.
    took: Duration,
    slow: Duration,
    pub(super) preallocator: Option<Preallocator>,
}

impl Writer {
    /// Begins the first segment of an empty log.
    pub fn create(
        disk: Disk,
        dir: PathBuf,
        options: &LocalLogOptions,
        last: BTreeMap<GroupId, u64>,
    ) -> Result<Self, LogError> {
        let mut header = SegmentHeader {
            id: 1,
            nonce: rand::random(),
            previous_nonce: 0,
            previous_sequence: 0,
            size: options.segment_bytes.next_multiple_of(BLOCK),
            recycled: false,
            base: last.clone(),
        };
        if options.preallocated_segments {
            header.size = header.size.min(FIRST_SEGMENT_BYTES).max(header.len() + 2 * BLOCK);
        }
        let file = match options.preallocated_segments {
            true => segment::prepare_filled(&disk, &dir, &header)?,
            false => segment::prepare(&disk, &dir, &header)?,
        };
        let path = segment::publish(&disk, &dir, header.id)?;
        let active = Active {
            path,
            file,
            end: header.len(),
            sequence: 0,
            unproven: false,
            last: BTreeMap::new(),
            header,
        };
        Self::resume(disk, dir, options, active, last)
    }

    /// Continues a segment.
    pub fn resume(
        disk: Disk,
        dir: PathBuf,
        options: &LocalLogOptions,
        active: Active,
        last: BTreeMap<GroupId, u64>,
    ) -> Result<Self, LogError> {
        let segment_bytes = options.segment_bytes.next_multiple_of(BLOCK);
        let preallocator = match options.preallocated_segments {
            true => Some(Preallocator::start(Disk::new(options), &dir)?),
            false => None,
        };
        let recycled = RecycledFiles::open(&dir, segment_bytes, options.recycle_above_free_bytes);
        let sealed = SealedSegments::new(recycled.map_err(|source| LogError {
            doing: "look for files of earlier segments in",
            path: dir.clone(),
            source,
        })?);
        let direct_writes = options.direct_writes;
        let direct = direct_writes.then(|| disk.direct(&active.path, &active.file)).flatten();
        Ok(Self {
            disk,
            dir,
            segment_bytes,
            active,
            last,
            sealed: Arc::new(sealed),
            buffer: Aligned::default(),
            direct,
            direct_writes,
            watch: options.watch.clone(),
            took: Duration::MAX,
            slow: options.slow,
            preallocator,
        })
    }

    /// Takes over the segments found at the start, and their size.
    pub fn remember(&self, sealed: VecDeque<Sealed>, bytes: u64) {
        self.sealed.remember(sealed, bytes);
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn sealed(&self) -> Arc<SealedSegments> {
        Arc::clone(&self.sealed)
    }

    /// Writes the proposals as one group and syncs; on an error none of them has an index.
    pub fn append(&mut self, proposals: &[Proposal]) -> Result<Vec<Entry>, AppendError> {
        let mut last = BTreeMap::new();
        let entries: Vec<_> = proposals
            .iter()
            .map(|(group, data)| {
                let index =
                    last.entry(*group).or_insert_with(|| self.last.get(group).copied().unwrap_or_default());
                *index += 1;
                Entry { group: *group, index: *index, data: data.clone() }
            })
            .collect();
        let body = entries.iter().map(|entry| RECORD_HEADER + entry.data.len()).sum();
        let len = group_len(body);
        // A mark must fit behind it: see [`Self::mark`].
        if !self.active.fits(len + BLOCK) {
            self.roll(len)?;
        }
        self.write(Kind::Data, &entries)?;
        self.active.last.extend(last.iter());
        self.last.extend(last);
        self.sealed.grew(len);
        self.preallocate_next();
        Ok(entries)
    }

    /// Has the next segment's file made, unless there is one to be used again.
    fn preallocate_next(&mut self) {
        let Active { end, header, .. } = &self.active;
        // A little later than at once: a server that is started and does little should not fill a file for it.
        let share = if header.size > FIRST_SEGMENT_BYTES { 8 } else { 2 };
        if let Some(preallocator) = self.preallocator.as_mut().filter(|_| *end > header.size / share)
            && !self.sealed.recycled.has_any()
        {
            preallocator.want(self.segment_bytes.min(header.size * GROWTH));
        }
    }

    /// How large the next group may be so that it is written in a moment: nothing if the last one was not, and less
    /// than what needs another segment.
    pub fn inline_bytes(&self) -> u64 {
        if self.took < self.slow { self.active.free_bytes().saturating_sub(BLOCK) } else { 0 }
    }

    /// Proves that the last group was durable, so that later damage to it is not mistaken for a torn tail.
    pub fn mark(&mut self) -> Result<(), AppendError> {
        let wanted = self.active.unproven && self.active.fits(BLOCK);
        if wanted { self.write(Kind::Mark, &[]) } else { Ok(()) }
    }

    fn write(&mut self, kind: Kind, entries: &[Entry]) -> Result<(), AppendError> {
        let active = &mut self.active;
        let position = GroupPosition {
            nonce: active.header.nonce,
            sequence: active.sequence + 1,
            previous_end: active.end,
        };
        let body = entries.iter().map(|entry| RECORD_HEADER + entry.data.len()).sum();
        let len = group_len(body);
        self.buffer.fill(usize::try_from(len).unwrap_or(usize::MAX), |out| {
            encode_group(out, kind, position, entries)
        });
        self.took = Duration::MAX;
        let begun = Instant::now();
        let mut file = self.direct.as_ref().unwrap_or(&active.file);
        let mut written = self.disk.write(file, self.buffer.get(), active.end);
        if self.direct.is_some() && written.as_ref().is_err_and(wants_page_cache) {
            (self.direct, self.direct_writes, file) = (None, false, &active.file);
            written = self.disk.write(file, self.buffer.get(), active.end);
        }
        let write = begun.elapsed();
        match written.and_then(|()| self.disk.sync(file)) {
            Ok(()) => {
                self.took = begun.elapsed();
                if let Some(watch) = &self.watch.0 {
                    let sync = self.took.saturating_sub(write);
                    watch.synced(entries.len(), len, write, sync);
                }
            }
            Err(error) if is_no_space(&error) => return Err(self.erase()),
            Err(error) => return Err(active.fatal("write the log segment", error)),
        }
        active.end += len;
        active.sequence += 1;
        active.unproven = kind == Kind::Data;
        self.buffer.shrink_to(16 << 20);
        Ok(())
    }

    /// Makes sure that a group for which there was no space cannot reappear after a crash: its proposers are answered
    /// that it was refused.
    fn erase(&self) -> AppendError {
        let active = &self.active;
        let zeroes = [0; BLOCK as usize];
        match self.disk.write(&active.file, &zeroes, active.end).and_then(|()| self.disk.sync(&active.file)) {
            Ok(()) => AppendError::NoSpace,
            Err(error) => active.fatal("take back a group from the log segment", error),
        }
    }

    /// Begins the next segment, which vouches for all groups before it, and finishes this one.
    fn roll(&mut self, need: u64) -> Result<(), AppendError> {
        let mut header = SegmentHeader {
            id: self.active.header.id + 1,
            nonce: rand::random(),
            previous_nonce: self.active.header.nonce,
            previous_sequence: self.active.sequence,
            size: 0,
            recycled: false,
            base: self.last.clone(),
        };
        let least = header.len() + need + 2 * BLOCK;
        let made = |preallocator: &mut Preallocator| preallocator.acquire(least);
        let prepared =
            self.sealed.recycled.acquire(least).or_else(|| self.preallocator.as_mut().and_then(made));
        header.recycled = prepared.as_ref().is_some_and(|prepared| prepared.recycled);
        header.size =
            prepared.as_ref().map_or_else(|| self.segment_bytes.max(least), |prepared| prepared.bytes);
        let mut file = match prepared {
            Some(prepared) => segment::prepare_from(&self.disk, &self.dir, prepared, &header),
            None => segment::prepare(&self.disk, &self.dir, &header),
        };
        if file.as_ref().is_err_and(|error| is_no_space(&error.source)) {
            // A nearly full disk still accepts settlements, which free space.
            header.size = (self.segment_bytes / 16).next_multiple_of(BLOCK).max(least);
            header.recycled = false;
            file = segment::prepare(&self.disk, &self.dir, &header);
        }
        let file = file.map_err(|error| match is_no_space(&error.source) {
            true => AppendError::NoSpace,
            false => AppendError::Fatal(error),
        })?;
        let path = segment::publish(&self.disk, &self.dir, header.id).map_err(AppendError::Fatal)?;

        // The seal makes a missing successor noticeable; the successor exists already, so on a full disk the seal may
        // be missing.
        match self.write(Kind::Seal, &[]) {
            Ok(()) | Err(AppendError::NoSpace) => {}
            Err(fatal) => return Err(fatal),
        }
        let next = Active {
            path,
            file,
            end: header.len(),
            sequence: header.previous_sequence,
            unproven: false,
            last: BTreeMap::new(),
            header,
        };
        self.direct = self.direct_writes.then(|| self.disk.direct(&next.path, &next.file)).flatten();
        let done = std::mem::replace(&mut self.active, next);
        self.sealed.add(Sealed { path: done.path, last: done.last });
        Ok(())
    }
}

impl Active {
    /// Whether a group of this many bytes fits before the seal.
    fn fits(&self, len: u64) -> bool {
        len <= self.free_bytes()
    }

    /// Bytes before the seal.
    fn free_bytes(&self) -> u64 {
        self.header.size.saturating_sub(self.end + BLOCK)
    }

    fn fatal(&self, doing: &'static str, source: std::io::Error) -> AppendError {
        AppendError::Fatal(LogError { doing, path: self.path.clone(), source })
    }
}

//! One segment file: making it, reading it, and judging where it ends.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    LogError,
    disk::Disk,
    errors::LogOpenError,
    format::{BLOCK, FORMAT, GROUP_HEADER, GroupHeader, HeaderError, Kind, Record, SegmentHeader, records},
    preallocate::{self, PreparedFile},
};

const EXTENSION: &str = "segment";

/// The file of a segment.
pub(super) fn path_of(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:012}.{EXTENSION}"))
}

/// The segments in a folder by their names, in order. Files with other names are left alone.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(id) = id
            && path.extension().is_some_and(|extension| extension == EXTENSION)
        {
            found.push((id, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Makes a segment's file under a name that does not count yet.
pub(super) fn prepare(disk: &Disk, dir: &Path, header: &SegmentHeader) -> Result<File, LogError> {
    let path = path_of(dir, header.id).with_extension("new");
    let mut how = OpenOptions::new();
    how.read(true).write(true).create(true).truncate(true).mode(0o600);
    let made = how.open(&path).and_then(|file| {
        disk.reserve(&file, header.size)?;
        disk.write(&file, &header.encode(), 0)?;
        disk.sync_new(&file)?;
        Ok(file)
    });
    made.map_err(|source| {
        // It never counted; if it stays, the next attempt writes over it.
        let _ = fs::remove_file(&path);
        LogError { doing: "make the log segment", path, source }
    })
}

/// As `prepare`, and writes it full of zeroes, so that syncs of it are fast.
pub(super) fn prepare_filled(disk: &Disk, dir: &Path, header: &SegmentHeader) -> Result<File, LogError> {
    let path = dir.join(preallocate::NAME);
    let prepared = preallocate::fill(disk, &path, header.size);
    let prepared = prepared.map_err(|source| LogError { doing: "make the log segment", path, source })?;
    prepare_from(disk, dir, prepared, header)
}

/// Makes a segment's file of one that was made in advance or is used again, under a name that does not count yet.
pub(super) fn prepare_from(
    disk: &Disk,
    dir: &Path,
    prepared: PreparedFile,
    header: &SegmentHeader,
) -> Result<File, LogError> {
    let path = path_of(dir, header.id).with_extension("new");
    let PreparedFile { file, path: prepared, .. } = prepared;
    let made = fs::rename(prepared, &path)
        .and_then(|()| disk.write(&file, &header.encode(), 0))
        .and_then(|()| disk.sync_new(&file));
    match made {
        Ok(()) => Ok(file),
        Err(source) => {
            Err(LogError { doing: "make the log segment of a file that was there for it", path, source })
        }
    }
}

/// Gives a prepared segment its name, durably. If this fails, it is unknown whether a crash would leave the segment.
pub(super) fn publish(disk: &Disk, dir: &Path, id: u64) -> Result<PathBuf, LogError> {
    let path = path_of(dir, id);
    match fs::rename(path.with_extension("new"), &path).and_then(|()| disk.sync_dir(dir)) {
        Ok(()) => Ok(path),
        Err(source) => Err(LogError { doing: "name the log segment", path, source }),
    }
}

/// Reads and checks a segment's header.
pub(super) fn read_header(file: &File, path: &Path, id: u64) -> Result<SegmentHeader, LogOpenError> {
    let read =
        |source| LogOpenError::Io(LogError { doing: "read the log segment", path: path.into(), source });
    let damaged = |what: &str| LogOpenError::damaged(path, 0, what);
    let len = file.metadata().map_err(read)?.len();
    let mut block = vec![0; usize::try_from(BLOCK.min(len)).unwrap_or_default()];
    file.read_exact_at(&mut block, 0).map_err(read)?;
    let judge = |error| match error {
        HeaderError::Newer(found) => LogOpenError::Newer { path: path.into(), found, known: FORMAT },
        HeaderError::Damaged => damaged("its header cannot be read"),
    };
    let header_len = SegmentHeader::length_of(&block).map_err(judge)?;
    if header_len as u64 > len {
        return Err(damaged("it ends inside its header"));
    }
    block.resize(header_len, 0);
    file.read_exact_at(&mut block, 0).map_err(read)?;
    let header = SegmentHeader::decode(&block).map_err(judge)?;
    if header.id != id {
        return Err(damaged("its header is that of another segment; was the file renamed?"));
    }
    if header.size != len {
        return Err(damaged("the file has not the size it was made with; was it cut or only partly copied?"));
    }
    Ok(header)
}

/// What is behind the last whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing was written there, or nothing that can be distinguished from the former content of a recycled file.
    Clean,
    /// A group that was never finished; nothing of it is written at or after `until`.
    Torn { until: u64 },
    /// The segment was finished and another follows.
    Sealed,
}

/// The end of a segment's groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub at: u64,
    pub sequence: u64,
    pub tail: Tail,
    /// Whether the last group holds entries, so that nothing yet proves it to have been durable.
    pub unproven: bool,
}

/// Takes a group's records and where in the file their body begins, or says what is wrong with them.
pub(super) type Visit<'a> = &'a mut dyn FnMut(u64, &[Record]) -> Result<(), String>;

/// Reads every group of a segment in order and hands its records to `visit`.
///
/// `last` is the last group the next segment vouches for; reading stops there, and it must be reached. Without a next
/// segment, reading stops at the first group that is not whole, which is a torn tail if nothing proves otherwise.
pub(super) fn scan(
    file: &File,
    path: &Path,
    header: &SegmentHeader,
    last: Option<u64>,
    visit: Visit<'_>,
) -> Result<End, LogOpenError> {
    let read =
        |source| LogOpenError::Io(LogError { doing: "read the log segment", path: path.into(), source });
    let mut end =
        End { at: header.len(), sequence: header.previous_sequence, tail: Tail::Clean, unproven: false };
    let mut body = Vec::new();
    while last.is_none_or(|last| end.sequence < last) && end.at < header.size {
        let at = end.at;
        let damaged = |what: &str| LogOpenError::damaged(path, at, what);
        let mut first = [0; GROUP_HEADER];
        file.read_exact_at(&mut first, at).map_err(read)?;
        let begun = GroupHeader::decode(&first, header.nonce);
        if let Some(group) = begun {
            if group.sequence != end.sequence + 1 || group.previous_end != at {
                return Err(damaged("a group stands there that belongs elsewhere"));
            }
            if group.len() > header.size - at {
                return Err(damaged("a group reaches beyond the end of the file"));
            }
            body.resize(group.body as usize, 0);
            file.read_exact_at(&mut body, at + GROUP_HEADER as u64).map_err(read)?;
        }
        let Some(group) = begun.filter(|group| crc32c::crc32c(&body) == group.checksum) else {
            end.tail = judge_tail(file, header, at, begun).map_err(read)?.ok_or_else(|| {
                damaged("a group cannot be read although a later one proves that it was complete")
            })?;
            break;
        };
        let found =
            records(&body, group.records).ok_or_else(|| damaged("a group's records cannot be told apart"))?;
        visit(at + GROUP_HEADER as u64, &found).map_err(|what| damaged(&what))?;
        end.at += group.len();
        end.sequence = group.sequence;
        end.unproven = group.kind == Kind::Data;
        if group.kind == Kind::Seal {
            end.tail = Tail::Sealed;
            break;
        }
    }
    if last.is_some_and(|last| end.sequence < last) {
        return Err(LogOpenError::damaged(
            path,
            end.at,
            "the next segment proves that more groups were complete here",
        ));
    }
    Ok(end)
}

/// Judges the bytes at `from`, where no whole group begins, but one may have been begun; `None` if a later group proves
/// that one must be there. In a recycled file, bytes other than a group's beginning prove nothing.
fn judge_tail(
    file: &File,
    header: &SegmentHeader,
    from: u64,
    begun: Option<GroupHeader>,
) -> io::Result<Option<Tail>> {
    let mut until = begun.filter(|_| header.recycled).map(|group| from + group.len());
    let mut part = vec![0; 1 << 20];
    let mut at = from;
    while at < header.size {
        let len = usize::try_from(header.size - at).unwrap_or(usize::MAX).min(part.len());
        file.read_exact_at(&mut part[..len], at)?;
        for (nth, block) in part[..len].chunks(BLOCK as usize).enumerate() {
            let begins = at + nth as u64 * BLOCK;
            if begins > from && GroupHeader::decode(block, header.nonce).is_some() {
                return Ok(None);
            }
            if !header.recycled && block.iter().any(|byte| *byte != 0) {
                until = Some(begins + block.len() as u64);
            }
        }
        at += len as u64;
    }
    Ok(Some(until.map_or(Tail::Clean, |until| Tail::Torn { until })))
}

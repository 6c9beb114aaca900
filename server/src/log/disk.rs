//! The log's calls to the operating system, in one place, so that tests can make them fail.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, OFlags, fallocate},
    io::Errno,
};

use super::{aligned::Aligned, options::LocalLogOptions};

/// The calls that write.
#[derive(Debug)]
pub(super) struct Disk {
    /// A planted bug: nothing is synced, and no error is reported.
    #[cfg(feature = "planted-bugs")]
    skip_sync: bool,
    #[cfg(test)]
    pub fault: Option<tests::Fault>,
    /// Leaves syncing to the operating system, for tests that only read the bytes.
    #[cfg(test)]
    pub lazy: bool,
}

impl Disk {
    #[cfg_attr(not(test), allow(unused_variables))]
    pub fn new(options: &LocalLogOptions) -> Self {
        Self {
            #[cfg(feature = "planted-bugs")]
            skip_sync: std::env::var("POSTHOUSE_PLANT").is_ok_and(|plant| plant == "skip-sync"),
            #[cfg(test)]
            fault: options.fault.clone(),
            #[cfg(test)]
            lazy: options.lazy,
        }
    }

    /// Writes all of `bytes` at `at`; on an error any part of them may have been written.
    pub fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err(fault) = self.fail(tests::Op::Write) {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(fault);
        }
        file.write_all_at(bytes, at)
    }

    /// A second handle of the file at `path`, whose writes of whole blocks go past the page cache: the log is not read
    /// again, and what is copied into fresh pages costs more than all else a write does. Nothing where there is no such
    /// handle.
    pub fn direct(&self, path: &Path, file: &File) -> Option<File> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        let (this, that) = (direct.metadata().ok()?, file.metadata().ok()?);
        // Another file may have the name by now.
        ((this.dev(), this.ino()) == (that.dev(), that.ino())).then_some(direct)
    }

    /// Makes what was written durable.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.fail(tests::Op::Sync)?;
        #[cfg(test)]
        if self.lazy {
            return Ok(());
        }
        #[cfg(feature = "planted-bugs")]
        if self.skip_sync {
            return Ok(());
        }
        file.sync_data()
    }

    /// Makes a new file durable, its length included.
    pub fn sync_new(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        if self.lazy {
            return Ok(());
        }
        file.sync_all()
    }

    /// Makes the names in a folder durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        #[cfg(test)]
        if self.lazy {
            return Ok(());
        }
        sync_dir(dir)
    }

    /// Gives `file` its length, and the space for it now rather than in mid-write.
    pub fn reserve(&self, file: &File, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.fail(tests::Op::Reserve)?;
        file.set_len(len)?;
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => zero(file, 0, len),
            Err(errno) => Err(errno.into()),
        }
    }

    #[cfg(test)]
    fn fail(&self, op: tests::Op) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| (fault.0)(op))
    }
}

/// Overwrites `from..to` with zeroes.
pub(super) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    // A sync of the log waits behind one of these, and not for long.
    const PART: usize = 128 << 10;
    let mut zeroes = Aligned::default();
    zeroes.fill(PART, |out| out.resize(out.len() + PART, 0));
    let mut at = from;
    while at < to {
        let part = usize::try_from(to - at).unwrap_or(usize::MAX).min(PART);
        file.write_all_at(&zeroes.get()[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

/// Whether a file system took a handle for direct writes, but not this write.
pub(super) fn wants_page_cache(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether the disk, or the share of it that is ours, is full.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::Arc;

    /// A call that can be made to fail.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Op {
        Write,
        Sync,
        Reserve,
    }

    /// Decides for each call whether it fails. A failing write writes half.
    #[derive(Clone)]
    pub struct Fault(pub Arc<dyn Fn(Op) -> io::Result<()> + Send + Sync>);

    impl std::fmt::Debug for Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Fault")
        }
    }
}

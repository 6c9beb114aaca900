//! The options of the log of a single node, and the receivers of its failures and durations.

use std::{sync::Arc, time::Duration};

use super::LogWatch;

/// How a [`LocalLog`](super::LocalLog) behaves. The default is what a server wants.
#[derive(Debug, Clone)]
pub struct LocalLogOptions {
    /// Size of a segment file, allocated when it is made.
    pub segment_bytes: u64,
    /// Make the next segment while this one is written, and write it full of zeroes: syncs are faster then.
    pub preallocated_segments: bool,
    /// Recycle the files of trimmed segments while the disk has this much free space besides; `None`: never.
    pub recycle_above_free_bytes: Option<u64>,
    /// Write past the operating system's page cache, where the file system can.
    pub direct_writes: bool,
    /// A group, which one sync makes durable, accepts no further entry when it has this many bytes.
    pub group_bytes: usize,
    /// The largest entry.
    pub entry_bytes: usize,
    /// How much may wait for the disk.
    pub queued_bytes: usize,
    /// How long a proposer waits for capacity before it is answered [`ProposeError::Busy`](super::ProposeError::Busy).
    pub patience: Duration,
    /// How long proposals are refused after the disk was found full before it is tried again.
    pub full_for: Duration,
    /// A write and its sync that take this long are left to the log's own thread.
    pub slow: Duration,
    /// What to do when the disk failed and its content is unknown.
    pub on_fatal: OnFatal,
    /// The receiver of the disk's durations.
    pub watch: Watched,
    #[cfg(test)]
    pub(crate) fault: Option<super::disk::tests::Fault>,
    #[cfg(test)]
    pub(crate) lazy: bool,
}

impl Default for LocalLogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            preallocated_segments: true,
            recycle_above_free_bytes: Some(1 << 30),
            direct_writes: true,
            group_bytes: 4 << 20,
            entry_bytes: 32 << 20,
            queued_bytes: 64 << 20,
            patience: Duration::from_millis(250),
            full_for: Duration::from_secs(1),
            slow: Duration::from_millis(1),
            on_fatal: OnFatal::default(),
            watch: Watched::default(),
            #[cfg(test)]
            fault: None,
            #[cfg(test)]
            lazy: false,
        }
    }
}

/// The action after a failed write or sync. By default the process ends: after a failed sync the operating system may
/// have dropped what was written, and a later sync would succeed without it.
#[derive(Clone)]
pub struct OnFatal(Arc<dyn Fn(&str) + Send + Sync>);

impl OnFatal {
    /// Calls `then` instead of ending the process; the log accepts no more proposals and reports nothing more to the
    /// sink.
    pub fn new(then: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(then))
    }

    pub(super) fn call(&self, what: &str) {
        tracing::error!("{what}; what is on disk is not known");
        (self.0)(what);
    }
}

impl Default for OnFatal {
    fn default() -> Self {
        Self::new(|_| std::process::exit(crate::EXIT_IO))
    }
}

impl std::fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFatal")
    }
}

/// The receiver of the disk's durations; by default there is none.
#[derive(Clone, Default)]
pub struct Watched(pub(super) Option<Arc<dyn LogWatch>>);

impl Watched {
    /// By this one.
    pub fn by(watch: Arc<dyn LogWatch>) -> Self {
        Self(Some(watch))
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

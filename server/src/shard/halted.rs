//! Why a shard is halted, and whether an entry of its log is the cause.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use posthouse_engine::{halt::Halt, ids::ShardId};
use tracing::error;

use crate::{identity::sha256, log::Entry};

/// Why a shard is halted.
#[derive(Debug, Clone)]
pub enum Stop {
    /// The machine refused to go on.
    Halt(Halt),
    /// A check of the machine's state failed by a panic.
    Panic,
    /// The entry of the log cannot be decoded to a batch.
    Undecodable(String),
}

/// What has to be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The entry: it halts its shard wherever it is applied.
    Entry,
    /// This program, which is older than the one that wrote the entry.
    Program,
    /// This node's disk, or its rows.
    Rows,
}

impl Stop {
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::Halt(Halt::Malformed(_) | Halt::Invariant(_)) | Self::Panic | Self::Undecodable(_) => {
                Blame::Entry
            }
            Self::Halt(Halt::NewerVersion { .. }) => Blame::Program,
            Self::Halt(
                Halt::Kv(_) | Halt::Corrupt(_) | Halt::IndexGap { .. } | Halt::SetAside(_) | Halt::Halted,
            ) => Blame::Rows,
        }
    }

    /// The reason in one word, one of `Readiness::HALT_REASONS`, for the log, the metrics and the runbook. It is never
    /// changed.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            // Neither halts a shard unless the shard itself is at fault.
            Self::Halt(Halt::SetAside(_) | Halt::Halted) => "invariant",
            Self::Halt(halt) => halt.label(),
            Self::Panic => "panic",
            Self::Undecodable(_) => "undecodable",
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Halt(halt) => halt.fmt(f),
            Self::Panic => f.write_str("a check of its state failed (see the log for the panic)"),
            Self::Undecodable(why) => write!(f, "the entry cannot be decoded: {why}"),
        }
    }
}

/// Runs the machine; a panic of it halts its shard, as a failed check does, and nothing else.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, Halt>) -> Result<T, Stop> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done.map_err(Stop::Halt),
        Err(_) => Err(Stop::Panic),
    }
}

/// An entry that halted its shard.
#[derive(Debug, Clone)]
pub(crate) struct HaltedBy {
    pub(crate) index: u64,
    /// SHA-256 of its data.
    pub(crate) digest: [u8; 32],
    pub(crate) stop: Stop,
}

impl HaltedBy {
    pub(crate) fn new(entry: &Entry, stop: Stop) -> Self {
        Self { index: entry.index, digest: sha256(&[&entry.data]), stop }
    }

    /// Tells the log, with what can be done.
    pub(crate) fn log(&self, shard: ShardId) {
        let Self { index, digest, stop } = self;
        let digest = hex(digest);
        let next = match stop.blame() {
            Blame::Entry => format!(
                "it halts again at every start; stop the server and look with `posthouse store check`; to set the \
                 department that the entry names aside and go on without the entry: `posthouse store skip {} {index} \
                 --digest {digest} --reason WHY --data-dir DIR`",
                shard.0
            ),
            Blame::Program => "start the version that wrote the entry, or a newer one".to_owned(),
            Blame::Rows => {
                "check the disk, and restore the data folder from a backup if it is damaged; the entry is not to blame"
                    .to_owned()
            }
        };
        error!(
            shard = shard.0,
            index,
            digest,
            reason = stop.label(),
            why = %stop,
            next,
            "shard halted by an entry of its log: it takes no more commands"
        );
    }
}

/// As people write a digest.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use posthouse_engine::{ids::DepartmentId, kv::KvError};

    use super::*;
    use crate::observe::Readiness;

    #[test]
    fn only_what_halts_everywhere_is_blamed_on_the_entry() {
        let halts = [
            (Halt::Malformed("m"), Blame::Entry),
            (Halt::Invariant("i".into()), Blame::Entry),
            (Halt::NewerVersion { found: 9, known: 6 }, Blame::Program),
            (Halt::Kv(KvError("k".into())), Blame::Rows),
            (Halt::Corrupt("c".into()), Blame::Rows),
            (Halt::IndexGap { applied: 1, found: 3 }, Blame::Rows),
            (Halt::SetAside(DepartmentId(1)), Blame::Rows),
            (Halt::Halted, Blame::Rows),
        ];
        for (halt, blame) in halts {
            assert_eq!(Stop::Halt(halt.clone()).blame(), blame, "{halt}");
            assert!(Readiness::HALT_REASONS.contains(&Stop::Halt(halt.clone()).label()), "{halt}");
        }
        for stop in [Stop::Panic, Stop::Undecodable("u".into())] {
            assert!(Readiness::HALT_REASONS.contains(&stop.label()), "{stop}");
        }
        assert_eq!(guarded::<()>(|| panic!("planted")).unwrap_err().blame(), Blame::Entry);
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}

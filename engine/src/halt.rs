//! Why a machine stops. An operating error is an outcome; this is for what must never be.

use crate::{ids::DepartmentId, kv::KvError};

/// The batch wrote nothing, and the machine is unusable until it is hydrated again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Halt {
    /// The store could not be read.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A newer program wrote the batch: it would be half-understood.
    #[error("the batch speaks machine version {found}, this program knows {known}: run a newer one")]
    NewerVersion {
        /// The batch's.
        found: u32,
        /// This machine's.
        known: u32,
    },
    /// The batch does not follow the last one.
    #[error("batch {found} does not follow batch {applied}")]
    IndexGap {
        /// The last batch applied.
        applied: u64,
        /// The index of this batch.
        found: u64,
    },
    /// The batch lacks something, or holds what no proposer sends.
    #[error("the batch is malformed: {0}")]
    Malformed(&'static str),
    /// A check of the machine's own state failed.
    #[error("an invariant does not hold: {0}")]
    Invariant(String),
    /// A stored row is missing or cannot be decoded.
    #[error("the stored state is damaged: {0}")]
    Corrupt(String),
    /// Only of a question between batches, which it is the answer to: the machine goes on.
    #[error("department {0} is set aside: nothing of it is read")]
    SetAside(DepartmentId),
    /// An earlier batch halted it.
    #[error("the machine has halted")]
    Halted,
}

impl Halt {
    /// A short name of the reason, for metrics and runbooks: it is never changed.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Kv(_) => "kv",
            Self::NewerVersion { .. } => "newer_version",
            Self::IndexGap { .. } => "index_gap",
            Self::Malformed(_) => "malformed",
            Self::Invariant(_) => "invariant",
            Self::Corrupt(_) => "corrupt",
            Self::SetAside(_) => "set_aside",
            Self::Halted => "halted",
        }
    }
}

/// Halts the machine unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::halt::Halt::Invariant(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_keeps_its_label() {
        let labels = [
            (Halt::Kv(KvError("a read failed".into())), "kv"),
            (Halt::NewerVersion { found: 2, known: 1 }, "newer_version"),
            (Halt::IndexGap { applied: 1, found: 3 }, "index_gap"),
            (Halt::Malformed("a command"), "malformed"),
            (Halt::Invariant("a count".into()), "invariant"),
            (Halt::Corrupt("a row".into()), "corrupt"),
            (Halt::SetAside(DepartmentId(1)), "set_aside"),
            (Halt::Halted, "halted"),
        ];
        for (halt, label) in labels {
            assert_eq!(halt.label(), label);
        }
    }
}

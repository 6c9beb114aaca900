//! Why a machine stops. An error of a caller is an outcome; a halt is for faults that must never happen.

use crate::{ids::DepartmentId, kv::KvError};

/// Why a batch was not applied. It has written nothing, and the machine is unusable until it is hydrated again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Halt {
    /// The store could not be read.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A newer program wrote the batch: it would be half-understood.
    #[error("the batch speaks machine version {found}, this program knows {known}: run a newer one")]
    NewerVersion {
        /// The version of the batch.
        found: u32,
        /// The version of this machine.
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
    /// The batch has a fault that no proposer makes.
    #[error("the batch is malformed: {0}")]
    Malformed(&'static str),
    /// A check of the machine's own state failed.
    #[error("an invariant does not hold: {0}")]
    Invariant(String),
    /// A stored row is missing or cannot be decoded.
    #[error("the stored state is damaged: {0}")]
    Corrupt(String),
    /// Only for queries between batches: the department is set aside. The machine can be used further.
    #[error("department {0} is set aside: nothing of it is read")]
    SetAside(DepartmentId),
    /// An earlier batch halted the machine.
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

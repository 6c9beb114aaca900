//! What the departments hold, as the shards' workers report it after each batch.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use posthouse_engine::{ids::DepartmentId, views::Usage};

/// The newest report of every department.
#[derive(Debug, Default)]
pub struct Usages {
    departments: RwLock<HashMap<DepartmentId, Arc<Held>>>,
}

#[derive(Debug, Default)]
struct Held {
    stored_bytes: AtomicU64,
    queues: AtomicU64,
}

/// The sum over several departments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Bytes of their messages.
    pub stored_bytes: u64,
    /// Their queues.
    pub queues: u64,
}

impl Usages {
    /// Takes down what a department holds now. Called by its shard's worker alone, so the last word is the newest.
    pub fn set(&self, department: DepartmentId, usage: Usage) {
        let known = self.departments.read().unwrap_or_else(PoisonError::into_inner).get(&department).cloned();
        let held = known.unwrap_or_else(|| {
            let mut departments = self.departments.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(departments.entry(department).or_default())
        });
        held.stored_bytes.store(usage.stored_bytes, Ordering::Relaxed);
        held.queues.store(usage.queues.into(), Ordering::Relaxed);
    }

    /// The sum over these departments.
    pub(super) fn sum(&self, departments: &[DepartmentId]) -> Sum {
        let known = self.departments.read().unwrap_or_else(PoisonError::into_inner);
        departments.iter().filter_map(|id| known.get(id)).fold(Sum::default(), |sum, held| Sum {
            stored_bytes: sum.stored_bytes.saturating_add(held.stored_bytes.load(Ordering::Relaxed)),
            queues: sum.queues.saturating_add(held.queues.load(Ordering::Relaxed)),
        })
    }
}

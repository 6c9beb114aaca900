//! Places for connections: so many in all, so many for each tenant.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::names::TenantName;

#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    /// Of a tenant for which nothing else is configured.
    max_per_tenant: usize,
    configured: HashMap<TenantName, usize>,
    taken: AtomicUsize,
    tenants: Mutex<HashMap<TenantName, usize>>,
}

/// A place in all; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

/// A place among the tenant's; given back when dropped.
#[derive(Debug)]
pub(super) struct TenantSlot(Arc<Slots>, TenantName);

impl Slots {
    /// So many in all, and for the tenants named here; three quarters of all for each of the others, so that none of
    /// them can use up the node's.
    pub(super) fn new(max: usize, configured: HashMap<TenantName, usize>) -> Arc<Self> {
        let (max_per_tenant, taken) = (max - max / 4, AtomicUsize::new(0));
        Arc::new(Self { max, max_per_tenant, configured, taken, tenants: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let more = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot(Arc::clone(self)))
    }
}

impl Slot {
    /// Places that are taken, this one included.
    pub(super) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    pub(super) fn of_tenant(&self, tenant: &TenantName) -> Option<TenantSlot> {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = tenants.entry(tenant.clone()).or_default();
        if *taken >= self.0.configured.get(tenant).copied().unwrap_or(self.0.max_per_tenant) {
            return None;
        }
        *taken += 1;
        Some(TenantSlot(Arc::clone(&self.0), tenant.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for TenantSlot {
    fn drop(&mut self) {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = tenants.get_mut(&self.1) {
            *taken -= 1;
            if *taken == 0 {
                tenants.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let (tax, police): (TenantName, TenantName) = ("tax".parse().unwrap(), "police".parse().unwrap());
        let slots = Slots::new(3, HashMap::from([(tax.clone(), 2)]));
        let first = slots.take().unwrap();
        let second = slots.take().unwrap();
        let third = slots.take().unwrap();
        assert!(slots.take().is_none());
        let own = first.of_tenant(&tax).unwrap();
        let _own = second.of_tenant(&tax).unwrap();
        assert!(third.of_tenant(&tax).is_none());
        assert!(third.of_tenant(&police).is_some());
        drop(own);
        assert!(third.of_tenant(&tax).is_some());
        drop(first);
        assert!(slots.take().is_some());
    }
}

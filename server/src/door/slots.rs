//! Places for connections: so many in all, a part of them for strangers, so many for each tenant.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::{
    crowd::{Crowd, Full, Limits, Seat, Stage},
    limits::STRANGERS_PART,
    names::TenantName,
};

#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    /// Of a tenant for which nothing else is configured.
    max_per_tenant: usize,
    configured: HashMap<TenantName, usize>,
    /// Connections of which no call was authenticated yet.
    strangers: Arc<Crowd>,
    /// The others.
    callers: AtomicUsize,
    tenants: Mutex<HashMap<TenantName, usize>>,
}

/// A place in all, a stranger's at first; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    /// While it is a stranger's.
    seat: Option<Seat>,
    gives_way: CancellationToken,
}

/// A place among the tenant's; given back when dropped.
#[derive(Debug)]
pub(super) struct TenantSlot(Arc<Slots>, TenantName);

/// Why a connection has no place. It is closed as soon as it is accepted, which is clearer than a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// As many connections are open as may be.
    Full,
    /// As many strangers' are.
    Strangers,
    /// As many strangers' of its host or its network are.
    Source,
}

impl NoPlace {
    /// A metric's label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Strangers => "strangers_full",
            Self::Source => "source_full",
        }
    }
}

impl Slots {
    /// So many in all, and for the tenants named here; three quarters of all for each of the others, so that none of
    /// them can use up the node's.
    pub(super) fn new(max: usize, configured: HashMap<TenantName, usize>) -> Arc<Self> {
        let strangers = Crowd::new(Limits::shares_of((max / STRANGERS_PART).max(1)));
        let (max_per_tenant, callers) = (max - max / 4, AtomicUsize::new(0));
        Arc::new(Self { max, max_per_tenant, configured, strangers, callers, tenants: Mutex::default() })
    }

    /// A stranger's place, for which another stranger may have to give way. Those who are known leave less room for strangers, and
    /// strangers never less for them.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, NoPlace> {
        let left = self.max.saturating_sub(self.callers.load(Ordering::Relaxed));
        if left == 0 {
            return Err(NoPlace::Full);
        }
        let gives_way = CancellationToken::new();
        match self.strangers.enter(address, left, Stage::Silent, gives_way.clone()) {
            Ok(seat) => Ok(Slot { slots: Arc::clone(self), seat: Some(seat), gives_way }),
            Err(Full::All) => Err(NoPlace::Strangers),
            Err(Full::Source) => Err(NoPlace::Source),
        }
    }
}

impl Slot {
    /// Places that are taken, this one included.
    pub(super) fn taken(&self) -> usize {
        self.slots.callers.load(Ordering::Relaxed) + self.slots.strangers.count()
    }

    /// The connection has come so far.
    pub(super) fn reached(&self, stage: Stage) {
        if let Some(seat) = &self.seat {
            seat.reached(stage);
        }
    }

    /// Cancelled when the connection has to give way to another one.
    pub(super) fn gives_way(&self) -> &CancellationToken {
        &self.gives_way
    }

    /// A call was authenticated: the place is a caller's from now on.
    pub(super) fn is_callers(&mut self) {
        if self.seat.is_some() {
            self.slots.callers.fetch_add(1, Ordering::Relaxed);
            self.seat = None;
        }
    }

    pub(super) fn of_tenant(&self, tenant: &TenantName) -> Option<TenantSlot> {
        let slots = &self.slots;
        let mut tenants = slots.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = tenants.entry(tenant.clone()).or_default();
        if *taken >= slots.configured.get(tenant).copied().unwrap_or(slots.max_per_tenant) {
            return None;
        }
        *taken += 1;
        Some(TenantSlot(Arc::clone(slots), tenant.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.seat.is_none() {
            self.slots.callers.fetch_sub(1, Ordering::Relaxed);
        }
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

    fn address(host: u8) -> IpAddr {
        [192, 0, 2, host].into()
    }

    #[test]
    fn places_of_tenants_are_given_back() {
        let (tax, police): (TenantName, TenantName) = ("tax".parse().unwrap(), "police".parse().unwrap());
        let slots = Slots::new(16, HashMap::from([(tax.clone(), 2)]));
        let slot = slots.take(address(1)).unwrap();
        let own = slot.of_tenant(&tax).unwrap();
        let _own = slot.of_tenant(&tax).unwrap();
        assert!(slot.of_tenant(&tax).is_none());
        assert!(slot.of_tenant(&police).is_some());
        drop(own);
        assert!(slot.of_tenant(&tax).is_some());
    }

    #[test]
    fn strangers_have_a_quarter_and_callers_all_of_it() {
        let slots = Slots::new(16, HashMap::new());
        let strangers: Vec<_> = (0..4).map(|host| slots.take(address(host)).unwrap()).collect();
        strangers.iter().for_each(|slot| slot.reached(Stage::Begun));
        assert_eq!(slots.take(address(9)).err(), Some(NoPlace::Strangers));
        assert_eq!(strangers[0].taken(), 4);
        let callers = |count| {
            let promoted = |_| {
                let mut slot = slots.take(address(1)).unwrap();
                slot.is_callers();
                slot.is_callers();
                slot
            };
            (0..count).map(promoted).collect::<Vec<_>>()
        };
        drop(strangers);
        let most = callers(14);
        // Two are left for strangers, who give way to each other.
        let first = slots.take(address(2)).unwrap();
        let second = slots.take(address(2)).unwrap();
        let third = slots.take(address(3)).unwrap();
        assert_eq!(
            [&first, &second, &third].map(|slot| slot.gives_way().is_cancelled()),
            [true, false, false]
        );
        assert_eq!(third.taken(), 16);
        drop((first, second, third));
        let last = callers(2);
        assert_eq!(slots.take(address(3)).err(), Some(NoPlace::Full));
        drop((most, last));
        assert_eq!(slots.take(address(3)).unwrap().taken(), 1);
    }
}

//! Slots for connections: limited in all, in part for strangers, and for each tenant's callers.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    limits::STRANGERS_PART,
    names::TenantName,
    source_slots::{Full, Limits, SourceSlot, SourceSlots, Stage},
};

#[derive(Debug)]
pub(super) struct ConnectionSlots {
    max: usize,
    /// Of a tenant for which nothing else is configured.
    max_per_tenant: usize,
    configured: HashMap<TenantName, usize>,
    /// Connections of which no call was authenticated yet.
    strangers: Arc<SourceSlots>,
    /// The others.
    callers: AtomicUsize,
    /// Callers and strangers whose handshake is done.
    shaken: AtomicUsize,
    /// Places of callers.
    tenants: Mutex<HashMap<TenantName, usize>>,
}

/// A slot, a stranger's at first, released when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    /// While it is a stranger's.
    slot: Option<SourceSlot>,
    shaken: bool,
    evicted: CancellationToken,
}

/// In each request's extensions: the connection's slot among its tenant's. The connection's first call with a good
/// token occupies it, since a certificate alone must not keep the tenant's callers out. It is released when all clones
/// are dropped.
#[derive(Clone, Debug)]
pub struct TenantSlot(Arc<Joining>);

#[derive(Debug)]
struct Joining {
    slots: Arc<ConnectionSlots>,
    tenant: TenantName,
    acquired: Mutex<bool>,
}

/// As many connections of a tenant's callers are open as may be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "max_connections is {max} and as many connections of its callers are open; close connections, or ask the server's \
     operator for more"
)]
pub struct TenantFull {
    /// The tenant.
    pub tenant: TenantName,
    /// How many there may be.
    pub max: usize,
}

/// Why a connection gets no slot. It is closed as soon as it is accepted, which is clearer than silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// As many connections are open as may be.
    Full,
    /// As many strangers' are.
    Strangers,
    /// As many strangers' of its host or its network are.
    Source,
}

impl NoSlot {
    /// A metric's label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Strangers => "strangers_full",
            Self::Source => "source_full",
        }
    }
}

impl ConnectionSlots {
    /// Limits in all, and for the configured tenants; three quarters of all for each other tenant, so that none of them
    /// can use up the node's.
    pub(super) fn new(max: usize, configured: HashMap<TenantName, usize>) -> Arc<Self> {
        let strangers = SourceSlots::new(Limits::shares_of((max / STRANGERS_PART).max(1)));
        let (callers, shaken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let max_per_tenant = max - max / 4;
        Arc::new(Self {
            max,
            max_per_tenant,
            configured,
            strangers,
            callers,
            shaken,
            tenants: Mutex::default(),
        })
    }

    /// A stranger's slot, for which another stranger may be evicted. Callers leave fewer slots for strangers, and
    /// strangers never fewer for callers.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, NoSlot> {
        let left = self.max.saturating_sub(self.callers.load(Ordering::Relaxed));
        if left == 0 {
            return Err(NoSlot::Full);
        }
        let evicted = CancellationToken::new();
        match self.strangers.enter(address, left, Stage::Silent, evicted.clone()) {
            Ok(slot) => {
                Ok(ConnectionSlot { slots: Arc::clone(self), slot: Some(slot), shaken: false, evicted })
            }
            Err(Full::All) => Err(NoSlot::Strangers),
            Err(Full::Source) => Err(NoSlot::Source),
        }
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantName, usize>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// The handshake is done. How many connections there are of which it is, this one included: who says nothing must
    /// not shrink what others get.
    pub(super) fn handshake_done(&mut self) -> usize {
        let new = usize::from(!std::mem::replace(&mut self.shaken, true));
        self.slots.shaken.fetch_add(new, Ordering::Relaxed) + new
    }

    /// The connection has reached this stage.
    pub(super) fn reached(&self, stage: Stage) {
        if let Some(slot) = &self.slot {
            slot.reached(stage);
        }
    }

    /// Cancelled when the connection is evicted for another one.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    /// A call was authenticated: the slot is a caller's from now on.
    pub(super) fn is_callers(&mut self) {
        if self.slot.is_some() {
            self.slots.callers.fetch_add(1, Ordering::Relaxed);
            self.slot = None;
        }
    }

    /// Its slot among the tenant's, for when it is a caller's.
    pub(super) fn tenant_slot(&self, tenant: &TenantName) -> TenantSlot {
        let (slots, tenant) = (Arc::clone(&self.slots), tenant.clone());
        TenantSlot(Arc::new(Joining { slots, tenant, acquired: Mutex::default() }))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if self.slot.is_none() {
            self.slots.callers.fetch_sub(1, Ordering::Relaxed);
        }
        if self.shaken {
            self.slots.shaken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl TenantSlot {
    /// Occupies the slot, unless the connection has it already.
    ///
    /// # Errors
    /// When there is none.
    pub fn acquire(&self) -> Result<(), TenantFull> {
        let Joining { slots, tenant, acquired } = &*self.0;
        let mut acquired = acquired.lock().unwrap_or_else(PoisonError::into_inner);
        if *acquired {
            return Ok(());
        }
        let max = slots.configured.get(tenant).copied().unwrap_or(slots.max_per_tenant);
        let mut tenants = slots.tenants();
        let count = tenants.get(tenant).copied().unwrap_or_default();
        if count >= max {
            return Err(TenantFull { tenant: tenant.clone(), max });
        }
        tenants.insert(tenant.clone(), count + 1);
        *acquired = true;
        Ok(())
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        if !*self.acquired.get_mut().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        let mut tenants = self.slots.tenants();
        if let Some(count) = tenants.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                tenants.remove(&self.tenant);
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
        let slots = ConnectionSlots::new(16, HashMap::from([(tax.clone(), 2)]));
        let slot = slots.acquire(address(1)).unwrap();
        let [first, second, third] = [(); 3].map(|()| slot.tenant_slot(&tax));
        let other = slot.tenant_slot(&police);
        let clone = first.clone();
        first.acquire().unwrap();
        clone.acquire().unwrap();
        second.acquire().unwrap();
        assert_eq!(third.acquire(), Err(TenantFull { tenant: tax, max: 2 }));
        assert_eq!(other.acquire(), Ok(()));
        drop(first);
        assert!(third.acquire().is_err(), "a call of the connection still has it");
        drop(clone);
        assert_eq!(third.acquire(), Ok(()));
        drop((second, third, other));
        assert!(slots.tenants().is_empty(), "nothing is remembered of who is not here");
    }

    #[test]
    fn who_brings_no_token_takes_no_place_of_a_tenant() {
        let tax: TenantName = "tax".parse().unwrap();
        let slots = ConnectionSlots::new(16, HashMap::from([(tax.clone(), 1)]));
        let slot = slots.acquire(address(1)).unwrap();
        let _certificates_only: Vec<_> = (0..10).map(|_| slot.tenant_slot(&tax)).collect();
        assert_eq!(slot.tenant_slot(&tax).acquire(), Ok(()));
    }

    #[test]
    fn those_whose_handshake_is_done_are_counted() {
        let slots = ConnectionSlots::new(64, HashMap::new());
        let mut silent: Vec<_> = (0..10).map(|_| slots.acquire(address(1)).unwrap()).collect();
        let mut first = slots.acquire(address(2)).unwrap();
        assert_eq!((first.handshake_done(), first.handshake_done()), (1, 1), "the silent are not");
        let mut second = slots.acquire(address(3)).unwrap();
        assert_eq!(second.handshake_done(), 2);
        second.is_callers();
        drop(first);
        assert_eq!(silent[0].handshake_done(), 2);
        drop((silent, second));
        assert_eq!(slots.shaken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn strangers_have_a_quarter_and_callers_all_of_it() {
        let slots = ConnectionSlots::new(16, HashMap::new());
        let strangers: Vec<_> = (0..4).map(|host| slots.acquire(address(host)).unwrap()).collect();
        strangers.iter().for_each(|slot| slot.reached(Stage::Begun));
        assert_eq!(slots.acquire(address(9)).err(), Some(NoSlot::Strangers));
        assert_eq!(slots.strangers.count(), 4);
        let callers = |count| {
            let promoted = |_| {
                let mut slot = slots.acquire(address(1)).unwrap();
                slot.is_callers();
                slot.is_callers();
                slot
            };
            (0..count).map(promoted).collect::<Vec<_>>()
        };
        drop(strangers);
        let max = callers(14);
        // Two are left for strangers, who are evicted for each other.
        let first = slots.acquire(address(2)).unwrap();
        let second = slots.acquire(address(2)).unwrap();
        let third = slots.acquire(address(3)).unwrap();
        assert_eq!([&first, &second, &third].map(|slot| slot.evicted().is_cancelled()), [true, false, false]);
        assert_eq!(slots.strangers.count(), 2);
        drop((first, second, third));
        let last = callers(2);
        assert_eq!(slots.acquire(address(3)).err(), Some(NoSlot::Full));
        drop((max, last));
        let _slot = slots.acquire(address(3)).unwrap();
        assert_eq!((slots.strangers.count(), slots.callers.load(Ordering::Relaxed)), (1, 0));
    }
}

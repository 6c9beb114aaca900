//! Slots for handshakes, the costly part of a connection that is not authenticated: limited in all and for each host.
//! The host that has most loses one to a host that has fewer.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::source_slots::{Limits, Prefix, SourceSlot, SourceSlots, Stage, host};

#[derive(Debug)]
pub(super) struct HandshakeSlots {
    all: usize,
    of_one_host: usize,
    occupied: Arc<SourceSlots>,
    freed: Notify,
    hosts: Mutex<HashMap<Prefix, Host>>,
}

#[derive(Debug)]
struct Host {
    waiting: usize,
    handshake_slots: Arc<Semaphore>,
}

/// A connection that waits for its slot or has it. Drop it when the handshake is done.
#[derive(Debug)]
pub(super) struct HandshakeWait {
    handshake_slots: Arc<HandshakeSlots>,
    address: IpAddr,
    own: Arc<Semaphore>,
}

/// The slot of one handshake: its host's, and the server's.
#[derive(Debug)]
pub(super) struct HandshakeSlot {
    handshake_slots: Arc<HandshakeSlots>,
    slot: Option<SourceSlot>,
    _own: Option<OwnedSemaphorePermit>,
}

impl HandshakeSlots {
    pub(super) fn new(all: usize, of_one_host: usize) -> Arc<Self> {
        // Each host's own limit was applied before.
        let occupied = SourceSlots::new(Limits { all, network: all, site: all, host: all });
        Arc::new(Self { all, of_one_host, occupied, freed: Notify::new(), hosts: Mutex::default() })
    }

    /// A connection from this address will want a slot.
    pub(super) fn wait(self: &Arc<Self>, address: IpAddr) -> HandshakeWait {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(host(address)).or_insert_with(|| Host {
            waiting: 0,
            handshake_slots: Arc::new(Semaphore::new(self.of_one_host)),
        });
        host.waiting += 1;
        HandshakeWait { handshake_slots: Arc::clone(self), address, own: Arc::clone(&host.handshake_slots) }
    }
}

impl HandshakeWait {
    /// Waits for its slot. While it waits for a slot of its host, it occupies none of the server's. If it is evicted,
    /// `evicted` is cancelled.
    pub(super) async fn slot(&self, evicted: &CancellationToken) -> HandshakeSlot {
        // They are never closed.
        let _own = Arc::clone(&self.own).acquire_owned().await.ok();
        let handshake_slots = &self.handshake_slots;
        let enter = || {
            handshake_slots
                .occupied
                .enter(self.address, handshake_slots.all, Stage::Begun, evicted.clone())
                .ok()
        };
        let slot = acquire_when_freed(&handshake_slots.freed, enter).await;
        HandshakeSlot { handshake_slots: Arc::clone(handshake_slots), slot: Some(slot), _own }
    }
}

/// Calls `try_acquire` again whenever a slot is released. A waiter is registered before it tries: otherwise, of two
/// slots that are released between two waiters' attempts and their waits, only one would be noticed.
async fn acquire_when_freed<T>(freed: &Notify, mut try_acquire: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut freed = pin!(freed.notified());
        freed.as_mut().enable();
        // If it is notified of a slot that it does not need any more, it notifies the next waiter.
        if let Some(occupied) = try_acquire() {
            return occupied;
        }
        freed.await;
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        drop(self.slot.take());
        self.handshake_slots.freed.notify_one();
    }
}

impl Drop for HandshakeWait {
    fn drop(&mut self) {
        let mut hosts = self.handshake_slots.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = host(self.address);
        if let Some(host) = hosts.get_mut(&key) {
            host.waiting -= 1;
            if host.waiting == 0 {
                hosts.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Its slot, if it has it at once, and whether it has lost it.
    fn now(waiting: &HandshakeWait) -> Option<(HandshakeSlot, CancellationToken)> {
        let token = CancellationToken::new();
        Some((waiting.slot(&token).now_or_never()?, token))
    }

    #[test]
    fn one_host_leaves_turns_for_others() {
        let handshake_slots = HandshakeSlots::new(3, 2);
        let greedy: Vec<_> = (0..4).map(|_| handshake_slots.wait(address("192.0.2.1"))).collect();
        let occupied: Vec<_> = greedy.iter().filter_map(now).collect();
        assert_eq!(occupied.len(), 2, "the others of the host wait for these");
        let second = handshake_slots.wait(address("192.0.2.2"));
        let slot = now(&second).unwrap();
        // All are occupied: the host that has most loses one to a host that has none, and none to a host that has as
        // many.
        let third = handshake_slots.wait(address("192.0.2.3"));
        let _slot = now(&third).unwrap();
        assert_eq!(occupied.iter().filter(|slot| slot.1.is_cancelled()).count(), 1);
        assert!(now(&handshake_slots.wait(address("192.0.2.2"))).is_none());
        assert!(!slot.1.is_cancelled());
        drop((occupied, greedy, second, third, slot));
        assert!(handshake_slots.hosts.lock().unwrap().is_empty(), "nothing is remembered of who is not here");
    }

    #[tokio::test]
    async fn whoever_waits_gets_a_turn_that_is_given_back() {
        let handshake_slots = HandshakeSlots::new(1, 1);
        let first = handshake_slots.wait(address("192.0.2.1"));
        let slot = now(&first).unwrap();
        let second = handshake_slots.wait(address("192.0.2.2"));
        let token = CancellationToken::new();
        let mut waiting = std::pin::pin!(second.slot(&token));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(slot);
        waiting.await;
    }

    #[test]
    fn two_that_are_freed_while_two_try_are_told_to_both() {
        let (notify, free) = (Notify::new(), Cell::new(0));
        let try_acquire = || (free.get() > 0).then(|| free.set(free.get() - 1));
        let mut first_try = true;
        let mut second = pin!(acquire_when_freed(&notify, || {
            let occupied = try_acquire();
            if std::mem::take(&mut first_try) {
                free.set(2);
                notify.notify_one();
                notify.notify_one();
            }
            occupied
        }));
        let second_has = Cell::new(false);
        let mut first = pin!(acquire_when_freed(&notify, || {
            let occupied = try_acquire();
            if !second_has.get() {
                // Between this waiter's attempt and its wait, another one arrives, and two slots are released.
                second_has.set(second.as_mut().now_or_never().is_some());
            }
            occupied
        }));
        assert!(first.as_mut().now_or_never().is_some(), "it waits although one is free");
        assert!(second_has.get());
        assert_eq!(free.get(), 0);
    }

    #[tokio::test]
    async fn one_that_is_told_and_goes_away_tells_another() {
        let handshake_slots = HandshakeSlots::new(1, 1);
        let [first, second, third] =
            [1, 2, 3].map(|host| handshake_slots.wait(address(&format!("192.0.2.{host}"))));
        let slot = now(&first).unwrap();
        let token = CancellationToken::new();
        let mut cancelled = Box::pin(second.slot(&token));
        let mut waiting = pin!(third.slot(&token));
        assert!(cancelled.as_mut().now_or_never().is_none() && waiting.as_mut().now_or_never().is_none());
        drop(slot);
        drop(cancelled);
        assert!(waiting.now_or_never().is_some());
    }

    #[test]
    fn a_host_is_one_whatever_its_addresses() {
        assert_eq!(host(address("2001:db8::1")), host(address("2001:db8::ffff:2")));
        assert_ne!(host(address("2001:db8::1")), host(address("2001:db8:0:1::1")));
        assert_eq!(host(address("::ffff:192.0.2.1")), host(address("192.0.2.1")));
    }
}

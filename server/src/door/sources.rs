//! Connections whose handshake is not finished, counted by where they come from: one host must not be able to keep all
//! others waiting.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceLimits {
    /// Handshakes, wherever they come from.
    pub(super) handshakes: usize,
    /// Handshakes of one source.
    pub(super) handshakes_per_source: usize,
    /// Connections of one source that wait for their handshake or are in it.
    pub(super) unfinished_per_source: usize,
}

#[derive(Debug)]
pub(super) struct Sources {
    limits: SourceLimits,
    handshakes: Arc<Semaphore>,
    known: Mutex<HashMap<IpAddr, Known>>,
}

#[derive(Debug)]
struct Known {
    unfinished: usize,
    handshakes: Arc<Semaphore>,
}

/// A connection that waits for its handshake or is in it. Drop it when the handshake is done.
#[derive(Debug)]
pub(super) struct Unfinished {
    sources: Arc<Sources>,
    source: IpAddr,
    handshakes: Arc<Semaphore>,
}

/// Leave for one handshake: its source's, then the server's.
#[derive(Debug)]
pub(super) struct Leave(#[allow(dead_code, reason = "held, not read")] [Option<OwnedSemaphorePermit>; 2]);

impl Sources {
    pub(super) fn new(limits: SourceLimits) -> Arc<Self> {
        let handshakes = Arc::new(Semaphore::new(limits.handshakes));
        Arc::new(Self { limits, handshakes, known: Mutex::default() })
    }

    /// A place for one more connection from this address, unless it has as many as may be.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Unfinished> {
        let source = source(address);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(source).or_insert_with(|| Known {
            unfinished: 0,
            handshakes: Arc::new(Semaphore::new(self.limits.handshakes_per_source)),
        });
        if entry.unfinished >= self.limits.unfinished_per_source {
            return None;
        }
        entry.unfinished += 1;
        Some(Unfinished { sources: Arc::clone(self), source, handshakes: Arc::clone(&entry.handshakes) })
    }
}

impl Unfinished {
    /// Waits for its turn. Whoever waits for the source's other handshakes takes none of the server's.
    pub(super) async fn turn(&self) -> Leave {
        // They are never closed.
        let own = Arc::clone(&self.handshakes).acquire_owned().await.ok();
        Leave([own, Arc::clone(&self.sources.handshakes).acquire_owned().await.ok()])
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut known = self.sources.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get_mut(&self.source) {
            entry.unfinished -= 1;
            if entry.unfinished == 0 {
                known.remove(&self.source);
            }
        }
    }
}

/// What counts as one host: an IPv4 address, or the /64 that an IPv6 host has to itself.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn sources() -> Arc<Sources> {
        Sources::new(SourceLimits { handshakes: 3, handshakes_per_source: 2, unfinished_per_source: 4 })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_leaves_room_for_others() {
        let sources = sources();
        let greedy: Vec<_> = (0..4).map(|_| sources.enter(address("192.0.2.1")).unwrap()).collect();
        assert!(sources.enter(address("192.0.2.1")).is_none());
        let leaves: Vec<_> = greedy.iter().filter_map(|one| one.turn().now_or_never()).collect();
        assert_eq!(leaves.len(), 2, "the others of the source wait for these");
        let other = sources.enter(address("192.0.2.2")).unwrap();
        let leave = other.turn().now_or_never().unwrap();
        assert!(other.turn().now_or_never().is_none(), "as many as may be, over all sources");
        drop(leave);
        assert!(other.turn().now_or_never().is_some());
        drop((leaves, greedy));
        assert!(sources.enter(address("192.0.2.1")).is_some());
        drop(other);
        assert!(sources.known.lock().unwrap().is_empty(), "nothing is remembered of who is not here");
    }

    #[test]
    fn a_host_is_one_source_whatever_its_addresses() {
        assert_eq!(source(address("2001:db8::1")), source(address("2001:db8::ffff:2")));
        assert_ne!(source(address("2001:db8::1")), source(address("2001:db8:0:1::1")));
        assert_eq!(source(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}

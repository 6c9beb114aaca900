//! Slots for connections of which only the source address is known: limited in all, for each host, and for each
//! network. When all are occupied, the source that has most loses one to a source that has fewer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use crate::limits::STRANGER_PATIENCE;

/// The limits of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) all: usize,
    /// Of one IPv6 /48.
    pub(crate) network: usize,
    /// Of one site: an IPv4 /24 or an IPv6 /56.
    pub(crate) site: usize,
    /// Of one host: an IPv4 address, or the /64 that an IPv6 host has to itself.
    pub(crate) host: usize,
}

/// How far a connection has got. Connections of an earlier stage are evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It has said nothing.
    Silent,
    /// It has begun to speak.
    Begun,
    /// It has said who it is.
    Named,
    /// It is being answered, and is never evicted.
    Answered,
}

/// The occupied slots, by source.
#[derive(Debug)]
pub(crate) struct SourceSlots {
    limits: Limits,
    state: Mutex<State>,
}

/// A slot, released when it is dropped.
#[derive(Debug)]
pub(crate) struct SourceSlot {
    source_slots: Arc<SourceSlots>,
    path: Path,
    number: u64,
    stage: AtomicU8,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All slots are occupied, by hosts that have no more than this one.
    All,
    /// All of this host's or its network's are.
    Source,
}

/// The whole, a network, a site, a host.
const LEVELS: usize = 4;
const HOST: usize = LEVELS - 1;

/// An address's prefixes, from the whole to the host.
type Path = [Prefix; LEVELS];

/// How much of an address: its level, and the bits down to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix(u8, u128);

#[derive(Debug, Default)]
struct State {
    next: u64,
    nodes: HashMap<Prefix, Node>,
}

#[derive(Debug, Default)]
struct Node {
    count: usize,
    /// The parts below it, by their number of slots.
    below: BTreeSet<(usize, Prefix)>,
    /// Of a host: its connections, by stage and age.
    members: BTreeMap<(u8, u64), Member>,
}

#[derive(Debug)]
struct Member {
    evicted: CancellationToken,
    /// When it reached its stage.
    since: Instant,
}

impl Limits {
    /// Limits for `all` slots: a host may have four eighths, a site five, and a network six, but no fewer than 16.
    pub(crate) fn shares_of(all: usize) -> Self {
        let least = 16.min(all);
        let eighths = |part: usize| (all * part / 8).max(least);
        Self { all, network: eighths(6), site: eighths(5), host: eighths(4) }
    }
}

impl SourceSlots {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// A slot for a connection from this address, while there are at most `all`. Another connection may have to be
    /// evicted: its token is cancelled. This connection is evicted in the same way, by `evicted`.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        all: usize,
        stage: Stage,
        evicted: CancellationToken,
    ) -> Result<SourceSlot, Full> {
        let path = path(address);
        let mut state = self.state();
        let Limits { network, site, host, .. } = self.limits;
        let max = [all.min(self.limits.all), network, site, host];
        // A free slot in the smallest level that is full is a free slot in all levels that contain it.
        let full = (0..LEVELS).rev().find(|level| state.count(&path[*level]) >= max[*level]);
        if let Some(level) = full {
            let why = if state.count(&path[0]) >= max[0] { Full::All } else { Full::Source };
            let (host, key) = state.victim(&path, level).ok_or(why)?;
            if let Some(member) = state.remove(host, key) {
                member.evicted.cancel();
            }
        }
        state.next += 1;
        let number = state.next;
        state.add(&path, (stage as u8, number), Member { evicted, since: Instant::now() });
        drop(state);
        Ok(SourceSlot { source_slots: Arc::clone(self), path, number, stage: AtomicU8::new(stage as u8) })
    }

    /// The number of occupied slots.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.state().count(&Prefix(0, 0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceSlot {
    /// The connection has reached this stage.
    pub(crate) fn reached(&self, stage: Stage) {
        let before = self.stage.swap(stage as u8, Ordering::Relaxed);
        let mut state = self.source_slots.state();
        if let Some(host) = state.nodes.get_mut(&self.path[HOST])
            && let Some(member) = host.members.remove(&(before, self.number))
        {
            host.members.insert((stage as u8, self.number), Member { since: Instant::now(), ..member });
        }
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        let key = (self.stage.load(Ordering::Relaxed), self.number);
        // An evicted connection has no slot any more.
        self.source_slots.state().remove(self.path, key);
    }
}

impl State {
    fn count(&self, prefix: &Prefix) -> usize {
        self.nodes.get(prefix).map_or(0, |node| node.count)
    }

    fn add(&mut self, path: &Path, key: (u8, u64), member: Member) {
        self.recount(path, |count| count + 1);
        self.nodes.entry(path[HOST]).or_default().members.insert(key, member);
    }

    fn remove(&mut self, path: Path, key: (u8, u64)) -> Option<Member> {
        let member = self.nodes.get_mut(&path[HOST])?.members.remove(&key)?;
        self.recount(&path, |count| count - 1);
        Some(member)
    }

    /// Changes the counts from the whole to a host; nothing is remembered of who is not here.
    fn recount(&mut self, path: &Path, change: impl Fn(usize) -> usize) {
        for level in 0..LEVELS {
            let prefix = path[level];
            let before = self.count(&prefix);
            let count = change(before);
            if let Some(above) = level.checked_sub(1).and_then(|above| self.nodes.get_mut(&path[above])) {
                above.below.remove(&(before, prefix));
                if count > 0 {
                    above.below.insert((count, prefix));
                }
            }
            self.nodes.entry(prefix).or_default().count = count;
        }
        for prefix in path {
            if self.count(prefix) == 0 {
                self.nodes.remove(prefix);
            }
        }
    }

    /// The connection that is evicted for one more from this path, within one of its levels. From that level down it is
    /// of the part that has more slots than the newcomer's part. Of a part with one slot only a silent connection is
    /// evicted, so that many parts with one slot each do not evict each other. Of the newcomer's own host it is a
    /// silent connection, or else one that was named a while ago and has made no call since: a caller's first call
    /// comes with the end of its handshake.
    fn victim(&self, path: &Path, level: usize) -> Option<(Path, (u8, u64))> {
        let mut found = *path;
        let mut last = Stage::Silent as u8;
        let mut own = true;
        for level in level..HOST {
            let (max, busiest) = *self.nodes.get(&found[level])?.below.last()?;
            let have = if own { self.count(&path[level + 1]) } else { 0 };
            if own && max <= have {
                found[level + 1] = path[level + 1];
                continue;
            }
            if own {
                last = if max > have + 1 { Stage::Named as u8 } else { Stage::Silent as u8 };
                if max == have + 1 && have > 0 {
                    return None;
                }
            }
            own = false;
            found[level + 1] = busiest;
        }
        // The levels above are the same for all candidates.
        let members = &self.nodes.get(&found[HOST])?.members;
        let first = members.keys().next().copied().filter(|key| key.0 <= last);
        let waited = || {
            let (key, named) = members.range((Stage::Named as u8, 0)..).next()?;
            let waits = key.0 == Stage::Named as u8 && named.since.elapsed() >= STRANGER_PATIENCE;
            waits.then_some(*key)
        };
        let key = first.or_else(|| if own { waited() } else { None })?;
        Some((found, key))
    }
}

/// What counts as one host: an IPv4 address, or the /64 of an IPv6 host.
pub(crate) fn host(address: IpAddr) -> Prefix {
    path(address)[HOST]
}

fn path(address: IpAddr) -> Path {
    let prefixes = match address.to_canonical() {
        IpAddr::V4(address) => {
            let bits = u128::from(address.to_bits());
            [bits >> 8, bits >> 8, bits].map(|bits| bits | 0xffff_u128 << 96)
        }
        IpAddr::V6(address) => [48, 56, 64].map(|bits| address.to_bits() & (u128::MAX << (128 - bits))),
    };
    [Prefix(0, 0), Prefix(1, prefixes[0]), Prefix(2, prefixes[1]), Prefix(3, prefixes[2])]
}

#[cfg(test)]
mod tests;

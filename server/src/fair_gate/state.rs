//! The batches that are through the gate, and those that wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use posthouse_engine::ids::TenantId;
use tokio::sync::oneshot;

use super::{ConnectionKey, FairGateLimits, Pass};

/// After a large batch the file system allocates blocks, and the store rewrites what was written. So the next large
/// batch waits, in proportion to the time that the last one took.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// A tenant that has published within this time is one that publishes.
const ACTIVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct State {
    limits: FairGateLimits,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Tenants that wait, by what they have had.
    line: BTreeSet<(u64, TenantId)>,
    /// The bytes that the last admitted tenant had used: a new one starts there.
    had: u64,
    /// Bytes through the gate.
    inside: usize,
    /// Those beyond what each tenant may have there in any case.
    large: usize,
    /// Until then none beyond that goes in while several tenants publish.
    pause: Option<Instant>,
    numbers: u64,
    /// The two tenants that published last.
    recent: [Option<(TenantId, Instant)>; 2],
}

/// A tenant that has something through the gate, waits, or has had more than the last one that was let in.
#[derive(Debug, Default)]
struct Tenant {
    /// Bytes through the gate.
    inside: usize,
    had: u64,
    connections: BTreeMap<ConnectionKey, Connection>,
    /// Those of its connections that wait, as above.
    line: BTreeSet<(u64, ConnectionKey)>,
    /// Those that do not, and have had more than the last one that was let in.
    away: BTreeSet<(u64, ConnectionKey)>,
    had_of_last: u64,
}

/// A connection that waits or has had more than others.
#[derive(Debug, Default)]
struct Connection {
    had: u64,
    waiting: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    sender: oneshot::Sender<Pass>,
}

/// What was let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    pub(super) tenant: TenantId,
    bytes: usize,
    /// When, if it is beyond what the tenant may have in any case.
    large: Option<Instant>,
}

/// The position of a waiting batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaiterKey {
    pub(super) tenant: TenantId,
    connection: ConnectionKey,
    number: u64,
}

impl Entered {
    pub(super) const fn nothing(tenant: TenantId) -> Self {
        Self { tenant, bytes: 0, large: None }
    }

    pub(super) const fn is_nothing(&self) -> bool {
        self.bytes == 0
    }
}

impl State {
    pub(super) const fn new(limits: FairGateLimits) -> Self {
        Self {
            limits,
            tenants: BTreeMap::new(),
            line: BTreeSet::new(),
            had: 0,
            inside: 0,
            large: 0,
            pause: None,
            numbers: 0,
            recent: [None; 2],
        }
    }

    /// Lets a batch through, if there is capacity and no other is overtaken.
    pub(super) fn enter(&mut self, tenant: TenantId, bytes: usize, now: Instant) -> Option<Entered> {
        self.record_publish(tenant, now);
        let bytes = bytes.max(1);
        let held = self.tenants.get(&tenant);
        if held.is_some_and(|held| !held.line.is_empty()) {
            return None;
        }
        let small = self.is_small(tenant, bytes);
        if !small && (!self.line.is_empty() || !self.fits(tenant, bytes, now)) {
            return None;
        }
        Some(self.admit(tenant, bytes, (!small).then_some(now)))
    }

    fn admit(&mut self, tenant: TenantId, bytes: usize, large: Option<Instant>) -> Entered {
        let held = self.tenants.entry(tenant).or_default();
        self.had = self.had.max(held.had);
        held.had = self.had + bytes as u64;
        held.inside += bytes;
        self.inside += bytes;
        if large.is_some() {
            self.large += bytes;
        }
        Entered { tenant, bytes, large }
    }

    pub(super) fn wait(
        &mut self,
        tenant: TenantId,
        connection: ConnectionKey,
        bytes: usize,
        sender: oneshot::Sender<Pass>,
    ) -> WaiterKey {
        self.numbers += 1;
        let held = self.tenants.entry(tenant).or_default();
        if held.line.is_empty() {
            held.had = held.had.max(self.had);
            self.line.insert((held.had, tenant));
        }
        let of_connection = held.connections.entry(connection).or_default();
        if of_connection.waiting.is_empty() {
            held.away.remove(&(of_connection.had, connection));
            of_connection.had = of_connection.had.max(held.had_of_last);
            held.line.insert((of_connection.had, connection));
        }
        of_connection.waiting.insert(self.numbers, Waiter { bytes: bytes.max(1), sender });
        WaiterKey { tenant, connection, number: self.numbers }
    }

    /// Removes a waiting batch; whether it was there.
    pub(super) fn cancel(&mut self, key: &WaiterKey) -> bool {
        let Some(held) = self.tenants.get_mut(&key.tenant) else { return false };
        let Some(connection) = held.connections.get_mut(&key.connection) else { return false };
        if connection.waiting.remove(&key.number).is_none() {
            return false;
        }
        if connection.waiting.is_empty() {
            held.line.remove(&(connection.had, key.connection));
            held.away.insert((connection.had, key.connection));
            held.forget();
        }
        if held.line.is_empty() {
            self.line.remove(&(held.had, key.tenant));
            self.tidy(key.tenant);
        }
        true
    }

    pub(super) fn release(&mut self, entered: Entered, now: Instant) {
        if let Some(held) = self.tenants.get_mut(&entered.tenant) {
            held.inside = held.inside.saturating_sub(entered.bytes);
        }
        self.inside = self.inside.saturating_sub(entered.bytes);
        if let Some(since) = entered.large {
            self.large = self.large.saturating_sub(entered.bytes);
            let pause = now.saturating_duration_since(since) * self.limits.pauses;
            self.pause = (pause >= MIN_PAUSE).then(|| now + pause.min(MAX_PAUSE));
        }
        self.tidy(entered.tenant);
    }

    /// Lets waiting batches through, as far as there is capacity.
    pub(super) fn admit_waiting(&mut self, now: Instant) -> Vec<(oneshot::Sender<Pass>, Entered)> {
        let mut admitted = Vec::new();
        while let Some((tenant, large)) = self.next(now) {
            let Some(admission) = self.admit_next(tenant, large.then_some(now)) else { break };
            admitted.push(admission);
        }
        admitted
    }

    /// The next batch; if there is no capacity for it, the first that may pass whatever others have.
    fn next(&self, now: Instant) -> Option<(TenantId, bool)> {
        let mut waits = false;
        for (_, tenant) in &self.line {
            let held = self.tenants.get(tenant)?;
            let (_, connection) = held.line.first()?;
            let bytes = held.connections.get(connection)?.waiting.first_key_value()?.1.bytes;
            if self.is_small(*tenant, bytes) {
                return Some((*tenant, false));
            }
            if !waits && self.fits(*tenant, bytes, now) {
                return Some((*tenant, true));
            }
            waits = true;
        }
        None
    }

    fn admit_next(
        &mut self,
        tenant: TenantId,
        large: Option<Instant>,
    ) -> Option<(oneshot::Sender<Pass>, Entered)> {
        let held = self.tenants.get_mut(&tenant)?;
        self.line.remove(&(held.had, tenant));
        let (had, key) = held.line.pop_first()?;
        held.had_of_last = held.had_of_last.max(had);
        let connection = held.connections.get_mut(&key)?;
        let (_, Waiter { bytes, sender }) = connection.waiting.pop_first()?;
        connection.had += bytes as u64;
        let waits = if connection.waiting.is_empty() { &mut held.away } else { &mut held.line };
        waits.insert((connection.had, key));
        held.forget();
        let entered = self.admit(tenant, bytes, large);
        let held = self.tenants.get(&tenant)?;
        if !held.line.is_empty() {
            self.line.insert((held.had, tenant));
        }
        Some((sender, entered))
    }

    pub(super) fn figures(&self) -> (usize, usize) {
        let connections = self.tenants.values().flat_map(|held| held.connections.values());
        let waiting = connections.map(|connection| connection.waiting.len()).sum();
        (waiting, self.tenants.values().map(|held| held.inside).sum())
    }

    /// Whether a batch may go in whatever others have.
    fn is_small(&self, tenant: TenantId, bytes: usize) -> bool {
        let inside = self.tenants.get(&tenant).map_or(0, |held| held.inside);
        inside + bytes <= self.limits.each && self.inside + bytes <= self.limits.all
    }

    fn fits(&self, tenant: TenantId, bytes: usize, now: Instant) -> bool {
        let others = self.recent.iter().flatten();
        let mut others =
            others.filter(|(other, at)| *other != tenant && now.saturating_duration_since(*at) < ACTIVE);
        let max = match others.next() {
            Some(_) if self.pause.is_some_and(|until| now < until) => return false,
            Some(_) => self.limits.shared,
            None => self.limits.alone,
        };
        self.large == 0 || self.large + bytes <= max
    }

    /// When to check the queue again although no batch is decided.
    pub(super) fn recheck(&self, now: Instant) -> Option<Instant> {
        self.pause.filter(|until| now < *until && !self.line.is_empty())
    }

    fn record_publish(&mut self, tenant: TenantId, now: Instant) {
        match &mut self.recent[0] {
            Some((last, at)) if *last == tenant => *at = now,
            last => {
                self.recent[1] = last.replace((tenant, now));
            }
        }
    }

    /// Forgets a tenant that has had no more than the others. There are no more of them than tenants.
    fn tidy(&mut self, tenant: TenantId) {
        let Some(held) = self.tenants.get_mut(&tenant) else { return };
        if held.inside > 0 || !held.line.is_empty() {
            return;
        }
        // None of its connections waits for another.
        held.connections.clear();
        held.away.clear();
        if held.had <= self.had {
            self.tenants.remove(&tenant);
        }
    }
}

impl Tenant {
    /// Forgets connections that do not wait and have had no more than the others.
    fn forget(&mut self) {
        while let Some((_, key)) = self.away.first().filter(|(had, _)| *had <= self.had_of_last) {
            self.connections.remove(key);
            self.away.pop_first();
        }
    }
}

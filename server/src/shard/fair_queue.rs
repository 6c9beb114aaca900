//! The events of a worker. The server's own are handled first, the tenants' in rounds: a tenant's events wait for no
//! more than one quantum of every other tenant, however many events those have. The events of one tenant stay in order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use posthouse_engine::ids::{ShardId, TenantId};

use super::Event;

/// A quantum takes about this long, for at least one event, ...
const QUANTUM: Duration = Duration::from_micros(200);
/// ... and at most this many.
const MAX_QUANTUM_EVENTS: usize = 64;

/// The shard of an event, and its tenant; events without one are the server's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) shard: ShardId,
    pub(crate) tenant: Option<TenantId>,
}

impl From<ShardId> for Origin {
    fn from(shard: ShardId) -> Self {
        Self { shard, tenant: None }
    }
}

/// The sending end of a worker's queue; when it is dropped, the worker ends.
pub(crate) struct EventSender(Arc<Shared>);

/// The other, for the worker.
pub(crate) struct EventReceiver(Arc<Shared>);

/// What a worker received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Events, and their tenant.
    Of(Option<TenantId>),
    /// None, for as long as it would wait.
    Nothing,
    /// There will be no more.
    End,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<FairQueue>,
    arrived: Condvar,
}

#[derive(Default)]
struct FairQueue {
    own: VecDeque<Event>,
    tenants: BTreeMap<TenantId, TenantQueue>,
    /// Tenants that have events, by the time that they have used.
    order: BTreeSet<(u64, TenantId)>,
    /// The time that the last served tenant had used: a new tenant starts there.
    used: u64,
    /// The worker is to end when there is nothing more.
    stop: bool,
    sender_dropped: bool,
    receiver_dropped: bool,
    sleeps: bool,
}

/// One tenant's.
#[derive(Default)]
struct TenantQueue {
    events: VecDeque<Event>,
    /// Nanoseconds of the worker.
    used: u64,
    /// The recent cost of one of its events, in nanoseconds.
    cost: u64,
}

/// A worker's queue.
pub(crate) fn fair_queue() -> (EventSender, EventReceiver) {
    let shared = Arc::new(Shared::default());
    (EventSender(Arc::clone(&shared)), EventReceiver(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, FairQueue> {
        // Nothing in there panics half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSender {
    /// Whether the worker will have it.
    pub(crate) fn send(&self, tenant: Option<TenantId>, event: Event) -> bool {
        let mut fair_queue = self.0.lock();
        if fair_queue.receiver_dropped {
            // A caller that waits for an answer sees the end only once the queue is unlocked.
            drop(fair_queue);
            drop(event);
            return false;
        }
        fair_queue.push(tenant, event);
        let wake = std::mem::take(&mut fair_queue.sleeps);
        drop(fair_queue);
        if wake {
            self.0.arrived.notify_one();
        }
        true
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        self.0.lock().sender_dropped = true;
        self.0.arrived.notify_one();
    }
}

impl EventReceiver {
    /// The next events, all of one tenant or the server's own.
    pub(crate) fn receive(&self, wait: Duration, events: &mut Vec<Event>) -> Received {
        let mut fair_queue = self.0.lock();
        let begun = Instant::now();
        loop {
            let received = fair_queue.receive(events);
            let left = wait.saturating_sub(begun.elapsed());
            if received != Received::Nothing || left.is_zero() {
                return received;
            }
            fair_queue.sleeps = true;
            fair_queue =
                self.0.arrived.wait_timeout(fair_queue, left).unwrap_or_else(PoisonError::into_inner).0;
            fair_queue.sleeps = false;
        }
    }

    /// Charges a tenant for its events.
    pub(crate) fn used(&self, tenant: TenantId, events: usize, time: Duration) {
        self.0.lock().charge(tenant, events, time);
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut fair_queue = self.0.lock();
        fair_queue.receiver_dropped = true;
        let left = std::mem::take(&mut *fair_queue);
        fair_queue.receiver_dropped = true;
        drop(fair_queue);
        drop(left);
    }
}

impl FairQueue {
    fn push(&mut self, tenant: Option<TenantId>, event: Event) {
        match tenant {
            // After all that is there.
            _ if matches!(event, Event::Stop) => self.stop = true,
            None => self.own.push_back(event),
            Some(tenant) => {
                let tenant_queue = self.tenants.entry(tenant).or_default();
                if tenant_queue.events.is_empty() {
                    tenant_queue.used = tenant_queue.used.max(self.used);
                    self.order.insert((tenant_queue.used, tenant));
                }
                tenant_queue.events.push_back(event);
            }
        }
    }

    fn receive(&mut self, events: &mut Vec<Event>) -> Received {
        if !self.own.is_empty() {
            events.extend(self.own.drain(..));
            return Received::Of(None);
        }
        let Some((used, tenant)) = self.order.pop_first() else {
            if self.stop {
                events.push(Event::Stop);
                return Received::Of(None);
            }
            return if self.sender_dropped { Received::End } else { Received::Nothing };
        };
        self.used = used;
        let Some(tenant_queue) = self.tenants.get_mut(&tenant) else { return Received::Nothing };
        let quantum = u64::try_from(QUANTUM.as_nanos()).unwrap_or(u64::MAX) / tenant_queue.cost.max(1);
        let max = usize::try_from(quantum).unwrap_or(MAX_QUANTUM_EVENTS).clamp(1, MAX_QUANTUM_EVENTS);
        events.extend(tenant_queue.events.drain(..max.min(tenant_queue.events.len())));
        if !tenant_queue.events.is_empty() {
            self.order.insert((tenant_queue.used, tenant));
        }
        Received::Of(Some(tenant))
    }

    fn charge(&mut self, tenant: TenantId, events: usize, time: Duration) {
        let Some(tenant_queue) = self.tenants.get_mut(&tenant) else { return };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let waits = self.order.remove(&(tenant_queue.used, tenant));
        tenant_queue.used = tenant_queue.used.saturating_add(nanos);
        tenant_queue.cost = (tenant_queue.cost * 3 + nanos / events.max(1) as u64) / 4;
        if waits {
            self.order.insert((tenant_queue.used, tenant));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Query, ShardEvent};

    /// An event with a number that a test can see.
    fn event(number: u16) -> Event {
        Event::ForShard(ShardId(number), ShardEvent::Query(Box::new(|_| {})))
    }

    fn number(event: &Event) -> u16 {
        match event {
            Event::ForShard(shard, _) => shard.0,
            Event::Stop => 999,
            _ => panic!("another event"),
        }
    }

    /// Receives all events, each of which takes so many microseconds; returns the tenants served, and their events.
    fn serve(receiver: &EventReceiver, cost: impl Fn(TenantId) -> u64) -> Vec<(Option<u32>, Vec<u16>)> {
        let mut served = Vec::new();
        let mut events = Vec::new();
        while let Received::Of(tenant) = receiver.receive(Duration::ZERO, &mut events) {
            if let Some(tenant) = tenant {
                let time = Duration::from_micros(cost(tenant) * events.len() as u64);
                receiver.used(tenant, events.len(), time);
            }
            let stop = events.iter().any(|event| matches!(event, Event::Stop));
            served.push((tenant.map(|tenant| tenant.0), events.drain(..).map(|e| number(&e)).collect()));
            if stop {
                break;
            }
        }
        served
    }

    #[test]
    fn a_flood_of_one_tenant_keeps_another_waiting_for_a_turn_only() {
        let (sender, receiver) = fair_queue();
        for number in 0..5_000 {
            assert!(sender.send(Some(TenantId(1)), event(number)));
        }
        // In the first round the cost of events is not known.
        let mut events = Vec::new();
        assert_eq!(receiver.receive(Duration::ZERO, &mut events), Received::Of(Some(TenantId(1))));
        receiver.used(TenantId(1), events.len(), Duration::from_micros(100 * events.len() as u64));
        assert_eq!(events.len(), MAX_QUANTUM_EVENTS);
        (5_000..5_020).for_each(|number| assert!(sender.send(Some(TenantId(2)), event(number))));
        let served = serve(&receiver, |_| 100);
        let last = served.iter().rposition(|(tenant, _)| *tenant == Some(2)).unwrap();
        let between: usize =
            served[..last].iter().filter(|(tenant, _)| *tenant == Some(1)).map(|(_, of)| of.len()).sum();
        assert!(between < 80, "{between} of the flood came before the last of twenty");
        for tenant in [1, 2] {
            let of = served.iter().filter(|(of, _)| *of == Some(tenant)).flat_map(|(_, numbers)| numbers);
            assert!(of.is_sorted(), "a tenant's are not in order");
        }
    }

    #[test]
    fn who_costs_much_gets_fewer() {
        let (sender, receiver) = fair_queue();
        for number in 0..1_000 {
            sender.send(Some(TenantId(1)), event(number));
            sender.send(Some(TenantId(2)), event(number));
        }
        let served = serve(&receiver, |tenant| if tenant.0 == 1 { 1_000 } else { 10 });
        let end = served.iter().rposition(|(tenant, _)| *tenant == Some(2)).unwrap();
        let expensive = served[..end].iter().filter(|(tenant, _)| *tenant == Some(1));
        let expensive: usize = expensive.map(|(_, of)| of.len()).sum();
        // A thousand of 10 µs are ten milliseconds; the first round is added.
        assert!(expensive <= MAX_QUANTUM_EVENTS + 20, "{expensive}");
    }

    #[test]
    fn the_servers_own_come_first_and_the_end_last() {
        let (sender, receiver) = fair_queue();
        sender.send(None, Event::Stop);
        sender.send(Some(TenantId(1)), event(1));
        sender.send(None, event(2));
        assert_eq!(serve(&receiver, |_| 1), [(None, vec![2]), (Some(1), vec![1]), (None, vec![999])]);
    }

    #[test]
    fn both_ends_see_the_other_go() {
        let (sender, receiver) = fair_queue();
        let mut events = Vec::new();
        assert_eq!(receiver.receive(Duration::from_millis(1), &mut events), Received::Nothing);
        sender.send(Some(TenantId(1)), event(1));
        drop(sender);
        assert_eq!(receiver.receive(Duration::from_secs(60), &mut events), Received::Of(Some(TenantId(1))));
        assert_eq!(receiver.receive(Duration::from_secs(60), &mut events), Received::End);
        let (sender, receiver) = fair_queue();
        let (reply, answer) = tokio::sync::oneshot::channel::<()>();
        let query: Query = Box::new(move |_| drop(reply));
        sender.send(None, Event::ForShard(ShardId(1), ShardEvent::Query(query)));
        drop(receiver);
        assert!(answer.blocking_recv().is_err(), "what nobody will take is dropped");
        assert!(!sender.send(None, event(1)));
    }

    #[test]
    fn a_worker_that_sleeps_is_woken() {
        let (sender, receiver) = fair_queue();
        let worker = std::thread::spawn(move || {
            let mut events = Vec::new();
            let received = receiver.receive(Duration::from_secs(60), &mut events);
            (received, events.len())
        });
        while !sender.0.lock().sleeps {
            std::thread::yield_now();
        }
        sender.send(Some(TenantId(1)), event(1));
        assert_eq!(worker.join().unwrap(), (Received::Of(Some(TenantId(1))), 1));
    }
}

//! Expiry, retries and forgetting.

use posthouse_engine::ids::QueueRef;

use super::{End, Model, State};

const CLOSED_LEASE_RETENTION: u64 = 60_000;
const PRODUCER_RETENTION: u64 = 7 * 24 * 3_600_000;

/// Ordered by time, then leases before messages, then by their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: u64,
    kind: Kind,
    queue: QueueRef,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Lease,
    Message,
}

impl Model {
    pub fn advance(&mut self) {
        while let Some(due) = self.first_due().filter(|due| due.at <= self.now) {
            let at = self.queues.iter().position(|queue| queue.id == due.queue).unwrap();
            match due.kind {
                Kind::Lease => self.expire(at, due.number),
                Kind::Message => self.wake(at, due.number),
            }
        }
        self.forget_requests();
        for queue in &mut self.queues {
            let now = self.now;
            queue.leases.retain(|lease| lease.closed_at.is_none_or(|at| at + CLOSED_LEASE_RETENTION > now));
            queue.producers.retain(|_, producer| producer.used_at + PRODUCER_RETENTION > now);
        }
    }

    /// The time of the next change. A timer may be due before it, never after it.
    pub fn next_due(&self) -> Option<u64> {
        let first = self.first_due().map(|due| due.at);
        first.into_iter().chain(self.first_forgotten()).min()
    }

    fn first_due(&self) -> Option<Due> {
        let mut first: Option<Due> = None;
        for queue in &self.queues {
            let leases = queue.leases.iter().filter(|lease| lease.closed_at.is_none());
            let leases = leases.map(|lease| (lease.timer, Kind::Lease, lease.id));
            let waiting = (1..).zip(&queue.messages).filter_map(|(sequence, message)| match message.state {
                State::Waiting(due, _) => Some((due, Kind::Message, sequence)),
                _ => None,
            });
            for (at, kind, number) in leases.chain(waiting) {
                let due = Due { at, kind, queue: queue.id, number };
                first = Some(first.map_or(due, |first| first.min(due)));
            }
        }
        first
    }

    fn expire(&mut self, at: usize, id: u64) {
        let now = self.now;
        let lease = self.queues[at].leases.iter().position(|lease| lease.id == id).unwrap();
        for index in 0..self.queues[at].leases[lease].items.len() {
            let item = &self.queues[at].leases[lease].items[index];
            if item.end.is_none() && item.deadline <= now {
                self.end(at, lease, index, End::Lost, 0);
            }
        }
        let held = &mut self.queues[at].leases[lease];
        let open = held.items.iter().filter(|item| item.end.is_none());
        held.timer = open.map(|item| item.deadline).min().unwrap_or(held.timer);
    }

    fn wake(&mut self, at: usize, sequence: u64) {
        let message = self.queues[at].message(sequence);
        let State::Waiting(_, cause) = message.state else { unreachable!() };
        match cause {
            None => message.state = State::Free,
            Some(cause) => {
                let failures = message.failures;
                self.move_to_dead_letters(at, sequence, failures, cause);
            }
        }
    }
}

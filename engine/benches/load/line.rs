//! One queue with the state of its producers and its consumers.

use std::collections::VecDeque;

use bytes::Bytes;
use posthouse_engine::{
    ids::{DEFAULT_SUBSCRIPTION, QueueRef},
    outcome::Outcome,
    schema::{Command, Grant, Holder, Producer, Publish, Settle, SettleItem, SettleKind, TokenRef},
};

use super::shard::{Shard, entry};

/// Producer sessions, which publish one after the other.
const PRODUCERS: u8 = 4;

pub struct Line {
    queue: QueueRef,
    /// The next sequence of each producer, beginning with the one that publishes next.
    producers: VecDeque<(u8, u64)>,
    /// The first message that is not leased yet.
    next: u64,
    /// The leased messages, in order.
    leased: VecDeque<TokenRef>,
}

impl Line {
    /// A queue without leases. Its producers open their sessions.
    pub fn new(queue: QueueRef, shard: &mut Shard) -> Self {
        let producers = (0..PRODUCERS).map(|producer| (producer, 0)).collect();
        let mut line = Self { queue, producers, next: 1, leased: VecDeque::new() };
        for _ in 0..PRODUCERS {
            let publish = line.publish(1);
            shard.run(vec![publish]);
        }
        line
    }

    /// The next publish of the next producer.
    pub fn publish(&mut self, messages: usize) -> Command {
        let (number, first_sequence) = self.producers.pop_front().unwrap();
        self.producers.push_back((number, first_sequence + messages as u64));
        let producer = Producer {
            producer_id: Bytes::copy_from_slice(&[number; 16]),
            epoch: 1,
            first_sequence,
            tenant: 7,
            subject: "spiffe://agency.example/civil-registry/counter".into(),
        };
        Command::Publish(Publish {
            department: self.queue.department.0,
            queue: self.queue.queue.0,
            lane: 0,
            producer: Some(producer),
            entries: (0..messages).map(|_| entry()).collect(),
            atomic: false,
        })
    }

    /// A grant of the next messages. [`Line::record`] must get its outcome.
    pub fn grant(&mut self, messages: u64) -> Command {
        let sequences = (self.next..self.next + messages).collect();
        self.next += messages;
        Command::Grant(Grant {
            department: self.queue.department.0,
            queue: self.queue.queue.0,
            subscription: DEFAULT_SUBSCRIPTION.0,
            lane: 0,
            holder: Some(holder()),
            sequences,
            duration_ms: 30_000,
            nonce: self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ..Grant::default()
        })
    }

    /// An ack of the messages that were leased first, coalesced as the server sends it.
    pub fn settle(&mut self, messages: usize) -> Command {
        let acks = self.leased.drain(..messages).map(|token| SettleItem::one(token, SettleKind::Ack, 0));
        let items = SettleItem::coalesce(acks);
        Command::Settle(Settle {
            department: self.queue.department.0,
            queue: self.queue.queue.0,
            subscription: DEFAULT_SUBSCRIPTION.0,
            holder: Some(holder()),
            items,
        })
    }

    /// The messages that were published and not leased since the line was created.
    pub fn published(&self) -> u64 {
        let published: u64 = self.producers.iter().map(|(_, next)| next).sum();
        published.saturating_sub(self.next - 1)
    }

    /// The number of leased messages.
    pub fn leased(&self) -> usize {
        self.leased.len()
    }

    /// Records the messages of a grant.
    pub fn record(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Outcome::Grant(Ok(granted)) = outcome {
                self.leased.extend(granted.deliveries().map(|live| live.token()));
            }
        }
    }
}

fn holder() -> Holder {
    Holder {
        tenant: 7,
        subject: "spiffe://agency.example/civil-registry/clerk".into(),
        session_id: Bytes::from_static(&[9; 16]),
    }
}

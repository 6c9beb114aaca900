//! A history, sorted by message and by lease.

use std::collections::BTreeMap;

use crate::{
    history::{Action, Delivery, Event, Moment, ServerTime, Token, What},
    payload::{PayloadId, Seen},
};

/// What a history has of one publish.
#[derive(Default)]
pub(super) struct Publish {
    pub(super) started: Moment,
    pub(super) acked: Option<Acked>,
    pub(super) refused: bool,
}

pub(super) struct Acked {
    pub(super) sequence: Option<u64>,
}

impl Publish {
    /// Whether the message may or may not be stored.
    pub(super) fn unanswered(&self) -> bool {
        self.acked.is_none() && !self.refused
    }
}

/// One lease: all deliveries with one token.
pub(super) struct Lease {
    /// Its first delivery.
    pub(super) delivery: Delivery,
    /// When each of its deliveries was received.
    pub(super) received: Vec<Moment>,
    /// The earliest start and the latest deadline that the server can have meant, by its clock.
    pub(super) granted: ServerTime,
    pub(super) deadline: ServerTime,
    pub(super) settles: Vec<Settle>,
    /// When its consumer ended its stream cleanly.
    pub(super) closed: Option<Moment>,
}

/// One settlement of a lease.
pub(super) struct Settle {
    pub(super) action: Action,
    pub(super) sent: Moment,
    pub(super) answer: Answer,
}

pub(super) enum Answer {
    Confirmed(Moment),
    Refused,
    Unknown,
}

impl Lease {
    /// The confirmed final settlement, and when it was confirmed.
    pub(super) fn confirmed(&self) -> Option<(Action, Moment)> {
        self.settles.iter().find_map(|settle| match settle.answer {
            Answer::Confirmed(at) if settle.action.is_final() => Some((settle.action, at)),
            _ => None,
        })
    }

    /// Whether a final settlement may have happened.
    pub(super) fn may_be_final(&self) -> bool {
        let possible = |settle: &&Settle| !matches!(settle.answer, Answer::Refused);
        self.settles.iter().filter(possible).any(|settle| settle.action.is_final())
    }

    /// When the lease may first have ended before its deadline.
    pub(super) fn released_at(&self) -> Option<Moment> {
        let settled = self.settles.iter().filter(|settle| !matches!(settle.answer, Answer::Refused));
        settled.map(|settle| settle.sent).chain(self.closed).min()
    }

    /// When the consumer first received it.
    pub(super) fn first_received(&self) -> Moment {
        self.received.first().copied().unwrap_or_default()
    }
}

#[derive(Default)]
pub(super) struct Index {
    pub(super) publishes: BTreeMap<PayloadId, Publish>,
    pub(super) leases: BTreeMap<Token, Lease>,
    /// The leases of a message, by the server's id for it, in the order in which they were received.
    pub(super) messages: BTreeMap<String, Vec<Token>>,
    /// Settlements and extensions of leases that were never received.
    pub(super) strays: Vec<Token>,
    pub(super) drained: Option<Moment>,
}

impl Index {
    pub(super) fn new(events: &[Event]) -> Self {
        let mut index = Self::default();
        for event in events {
            index.add(event);
        }
        index
    }

    /// The leases of each payload.
    pub(super) fn leases_of(&self) -> BTreeMap<PayloadId, Vec<&Lease>> {
        let mut found: BTreeMap<PayloadId, Vec<&Lease>> = BTreeMap::new();
        for lease in self.leases.values() {
            if let Seen::Intact(payload) = lease.delivery.payload {
                found.entry(payload).or_default().push(lease);
            }
        }
        found
    }

    fn add(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            What::PublishStarted { payload } => self.publish(*payload).started = at,
            What::PublishAcked { payload, sequence } => {
                self.publish(*payload).acked = Some(Acked { sequence: *sequence });
            }
            What::PublishRefused { payload } => self.publish(*payload).refused = true,
            What::Delivered(delivery) => self.deliver(delivery, at),
            What::Extended { token, deadline } => {
                if let Some(lease) = self.lease(token) {
                    lease.deadline = lease.deadline.max(*deadline);
                }
            }
            What::SettleSent { token, action } => {
                if let Some(lease) = self.lease(token) {
                    lease.settles.push(Settle { action: *action, sent: at, answer: Answer::Unknown });
                }
            }
            What::SettleConfirmed { token } => self.answer(token, Answer::Confirmed(at)),
            What::SettleRefused { token, .. } => self.answer(token, Answer::Refused),
            What::ConsumerClosed { consumer } => {
                let held = self.leases.values_mut().filter(|lease| lease.delivery.consumer == *consumer);
                held.for_each(|lease| lease.closed = lease.closed.or(Some(at)));
            }
            What::Drained => self.drained = Some(at),
            What::PublishUnknown { .. } | What::SettleUnknown { .. } => {}
            What::ServerKilled | What::ServerReady => {}
        }
    }

    fn publish(&mut self, payload: PayloadId) -> &mut Publish {
        self.publishes.entry(payload).or_default()
    }

    fn lease(&mut self, token: &Token) -> Option<&mut Lease> {
        if !self.leases.contains_key(token) {
            self.strays.push(token.clone());
        }
        self.leases.get_mut(token)
    }

    /// An answer belongs to the settlement sent last.
    fn answer(&mut self, token: &Token, answer: Answer) {
        if let Some(settle) = self.lease(token).and_then(|lease| lease.settles.last_mut()) {
            settle.answer = answer;
        }
    }

    fn deliver(&mut self, delivery: &Delivery, at: Moment) {
        if let Some(lease) = self.leases.get_mut(&delivery.token) {
            lease.received.push(at);
            lease.granted = lease.granted.min(delivery.granted());
            lease.deadline = lease.deadline.max(delivery.deadline);
            return;
        }
        self.messages.entry(delivery.message.clone()).or_default().push(delivery.token.clone());
        let lease = Lease {
            delivery: delivery.clone(),
            received: vec![at],
            granted: delivery.granted(),
            deadline: delivery.deadline,
            settles: Vec::new(),
            closed: None,
        };
        self.leases.insert(delivery.token.clone(), lease);
    }
}

//! A naive model of queues: vectors of messages with states, searched from end to end. It is written from the rules
//! and shares only the types of commands and outcomes with the engine.

mod definitions;
mod delivery;
mod publish;
mod redrive;
mod requests;
mod time;

use std::collections::BTreeMap;

use bytes::Bytes;
use posthouse_engine::{
    ids::{DEFAULT_SUBSCRIPTION, DepartmentId, LeaseId, QueueRef, SubscriptionRef},
    outcome::{Counts, DepartmentError, GrantedItem, LiveDelivery, Outcome, QueueView},
    schema::{
        Command, DeadLetterCause, DeadLetterOrigin, Holder, QueueSettings, SettleKind, SubscriptionSums,
        producer_row::PastBatch,
    },
    views::{MessageState, MessageStatus, Stats},
};

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub now: u64,
    /// The wall clock at that time.
    pub wall: u64,
    pub epoch: u64,
    pub departments: BTreeMap<u32, Department>,
    pub queues: Vec<Queue>,
    /// The oldest first.
    pub done: Vec<requests::Done>,
    /// Counts of the answers to requests.
    pub noted: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Department {
    pub closed: bool,
    pub index: u64,
    pub next_queue: u32,
}

#[derive(Debug, Clone)]
pub struct Queue {
    pub id: QueueRef,
    pub name: String,
    pub revision: u64,
    pub created_at: u64,
    pub updated_at: u64,
    pub settings: QueueSettings,
    pub request_id: String,
    pub deleted: bool,
    /// The messages, by sequence from 1.
    pub messages: Vec<Message>,
    pub next_lease: u64,
    pub leases: Vec<Lease>,
    pub producers: BTreeMap<Bytes, Producer>,
    pub sums: SubscriptionSums,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub content: Bytes,
    pub size: u32,
    pub published_at: u64,
    pub wall_published_at: u64,
    pub origin: Option<DeadLetterOrigin>,
    pub failures: u32,
    /// The message was delivered at least once.
    pub delivered: bool,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Free,
    Leased,
    /// If there is a cause, the message waits for its dead-letter queue.
    Waiting(u64, Option<DeadLetterCause>),
    Parked(DeadLetterCause),
    Settled,
}

#[derive(Debug, Clone)]
pub struct Lease {
    pub id: u64,
    pub holder: Holder,
    pub nonce: u64,
    pub epoch: u64,
    pub granted_at: u64,
    pub items: Vec<Item>,
    pub timer: u64,
    pub closed_at: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub sequence: u64,
    pub attempt: u32,
    pub deadline: u64,
    pub end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Settled(SettleKind),
    Lost,
    Purged,
}

#[derive(Debug, Clone)]
pub struct Producer {
    pub epoch: u64,
    pub next: u64,
    pub tenant: u32,
    pub subject: String,
    pub used_at: u64,
    pub past: Vec<PastBatch>,
}

impl Model {
    /// The expected outcome; `None` for an `Advance`, of which only the state after it is compared.
    pub fn apply(&mut self, command: &Command) -> Option<Outcome> {
        match requests::asked(command) {
            Some((department, request)) => Some(self.once(command, department, request)),
            None => self.make(command),
        }
    }

    fn make(&mut self, command: &Command) -> Option<Outcome> {
        Some(match command {
            Command::LeaderStarted(_) => {
                self.epoch += 1;
                Outcome::LeaderStarted
            }
            Command::ConfigureDepartment(command) => Outcome::ConfigureDepartment(self.configure(command)),
            Command::CreateQueue(command) => Outcome::CreateQueue(self.create(command)),
            Command::UpdateQueue(command) => Outcome::UpdateQueue(self.update(command)),
            Command::DeleteQueue(command) => Outcome::DeleteQueue(self.delete(command)),
            Command::PurgeQueue(command) => Outcome::PurgeQueue(self.purge(command)),
            Command::Publish(command) => Outcome::Publish(self.publish(command)),
            Command::Grant(command) => Outcome::Grant(self.grant(command)),
            Command::Settle(command) => Outcome::Settle(self.settle(command)),
            Command::Extend(command) => Outcome::Extend(self.extend(command)),
            Command::ReleaseHolder(command) => Outcome::ReleaseHolder(self.release(command)),
            Command::RedriveDeadLetters(command) => Outcome::RedriveDeadLetters(self.redrive(command)),
            Command::Advance(command) => {
                // The driver follows a small `Advance` with one that is large enough.
                if command.max >= super::driver::FULL_ADVANCE {
                    self.advance();
                }
                return None;
            }
        })
    }

    fn department(&self, department: u32) -> Result<(), DepartmentError> {
        match self.departments.get(&department) {
            None => Err(DepartmentError::NotFound),
            Some(department) if department.closed => Err(DepartmentError::Closed),
            Some(_) => Ok(()),
        }
    }

    pub fn by_name(&self, department: u32, name: &str) -> Option<usize> {
        let here = DepartmentId(department);
        self.queues
            .iter()
            .position(|queue| !queue.deleted && queue.id.department == here && queue.name == name)
    }

    fn by_id(&self, department: u32, queue: u32) -> Option<usize> {
        let same = |held: &Queue| held.id.department.0 == department && held.id.queue.0 == queue;
        self.queues.iter().position(|held| !held.deleted && same(held))
    }
}

impl Queue {
    pub fn view(&self) -> QueueView {
        QueueView {
            department: self.id.department,
            queue: self.id.queue,
            name: self.name.clone(),
            revision: self.revision,
            created_at_ms: self.created_at,
            updated_at_ms: self.updated_at,
            settings: self.settings.clone(),
        }
    }

    pub fn subscription(&self) -> SubscriptionRef {
        SubscriptionRef { queue: self.id, subscription: DEFAULT_SUBSCRIPTION }
    }

    pub fn message(&mut self, sequence: u64) -> &mut Message {
        &mut self.messages[usize::try_from(sequence).unwrap() - 1]
    }

    pub fn state(&self, sequence: u64) -> State {
        self.messages[usize::try_from(sequence).unwrap() - 1].state
    }

    pub fn free(&self) -> Vec<u64> {
        (1..)
            .zip(&self.messages)
            .filter(|(_, message)| message.state == State::Free)
            .map(|(at, _)| at)
            .collect()
    }

    pub fn counts(&self) -> Counts {
        let count =
            |is: &dyn Fn(State) -> bool| self.messages.iter().filter(|held| is(held.state)).count() as u64;
        Counts {
            ready: count(&|state| state == State::Free),
            in_flight: count(&|state| state == State::Leased),
            waiting: count(&|state| matches!(state, State::Waiting(..))),
            parked: count(&|state| matches!(state, State::Parked(_))),
            last_sequence: self.messages.len() as u64,
        }
    }

    /// The stats but for the bytes, which depend on when the engine trims.
    pub fn stats(&self) -> Stats {
        let times: Vec<u64> = self.messages.iter().map(|message| message.wall_published_at).collect();
        let oldest = self.messages.iter().find(|message| message.state != State::Settled);
        Stats {
            counts: self.counts(),
            oldest_unsettled_ms: oldest.map(|message| message.wall_published_at),
            oldest_published_ms: oldest.map(|message| message.published_at),
            stored_bytes: 0,
            published: self.messages.len() as u64,
            first_published_ms: times.first().copied(),
            last_published_ms: times.last().copied(),
            sums: self.sums,
        }
    }

    pub fn status(&self, sequence: u64) -> MessageStatus {
        let message = &self.messages[usize::try_from(sequence).unwrap() - 1];
        let items = self.leases.iter().flat_map(|lease| &lease.items);
        let mut open = items.filter(|item| item.end.is_none() && item.sequence == sequence);
        let state = match message.state {
            State::Free => MessageState::Ready,
            State::Leased => MessageState::Leased { deadline_ms: open.next().unwrap().deadline },
            State::Waiting(due, None) => MessageState::Waiting { due_ms: Some(due) },
            State::Waiting(_, Some(_)) => MessageState::Waiting { due_ms: None },
            State::Parked(cause) => MessageState::Parked(cause),
            State::Settled => MessageState::Settled,
        };
        MessageStatus {
            sequence,
            state,
            failed_attempts: if message.state == State::Settled { 0 } else { message.failures },
            published_at_ms: Some(message.wall_published_at),
            payload_bytes: Some(message.size),
            origin: message.origin.clone(),
        }
    }

    /// The messages that came from another queue, or are parked.
    pub fn dead_letters(&self) -> Vec<u64> {
        let is_one = |message: &Message| match message.state {
            State::Settled => false,
            State::Parked(_) => true,
            _ => message.origin.is_some(),
        };
        (1..).zip(&self.messages).filter(|(_, message)| is_one(message)).map(|(at, _)| at).collect()
    }

    pub fn live(&self, holder: &Holder) -> Vec<LiveDelivery> {
        let mut live = Vec::new();
        for lease in self.leases.iter().filter(|lease| lease.holder == *holder) {
            for (index, item) in (0..).zip(&lease.items).filter(|(_, item)| item.end.is_none()) {
                live.push(LiveDelivery {
                    lease: LeaseId(lease.id),
                    nonce: lease.nonce,
                    deadline_ms: item.deadline,
                    item: GrantedItem { index, sequence: item.sequence, attempt: item.attempt },
                });
            }
        }
        live
    }
}

//! Leases and settlements.

use posthouse_engine::{
    ids::LeaseId,
    outcome::{ExtendOutcome, Granted, GrantedItem, SettleOutcome, SubscriptionError},
    schema::{
        DeadLetterCause, DeadLetterOrigin, Extend, Grant, Holder, ReleaseHolder, Settle, SettleKind, TokenRef,
    },
};

use super::{End, Item, Lease, Message, Model, State};

const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 12 * 3_600_000;

/// The answer to a token without an open delivery.
enum Not {
    Settled(SettleKind),
    Invalid,
    Lost,
    SettledByAnother,
    Purged,
}

impl Model {
    pub fn at(&self, department: u32, queue: u32, subscription: u32) -> Result<usize, SubscriptionError> {
        self.department(department)?;
        let at = self.by_id(department, queue).ok_or(SubscriptionError::QueueNotFound)?;
        if subscription == 1 { Ok(at) } else { Err(SubscriptionError::SubscriptionNotFound) }
    }

    pub fn grant(&mut self, command: &Grant) -> Result<Granted, SubscriptionError> {
        let at = self.at(command.department, command.queue, command.subscription)?;
        let deadline = self.now + command.duration_ms.clamp(SHORTEST, LONGEST);
        let queue = &mut self.queues[at];
        let mut wanted = command.sequences.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|at| *at >= 1 && *at <= queue.messages.len() as u64 && queue.state(*at) == State::Free);
        wanted.truncate(1_024);
        if command.next_sequence != 0 && command.next_sequence != queue.messages.len() as u64 + 1 {
            wanted.clear();
        }
        let nonce = command.nonce;
        if wanted.is_empty() {
            return Ok(Granted { lease: LeaseId(0), nonce, deadline_ms: deadline, items: Vec::new() });
        }
        let mut items = Vec::new();
        for sequence in wanted {
            let message = queue.message(sequence);
            message.state = State::Leased;
            let first = !std::mem::replace(&mut message.delivered, true);
            let waited = self.now - message.published_at;
            items.push(Item { sequence, attempt: message.failures + 1, deadline, end: None });
            queue.sums.delivered += 1;
            if first {
                queue.sums.first_delivered += 1;
                queue.sums.waiting_ms += waited;
            }
        }
        let granted = (0..).zip(&items);
        let granted = granted
            .map(|(index, item)| GrantedItem { index, sequence: item.sequence, attempt: item.attempt })
            .collect();
        let holder = command.holder.clone().unwrap();
        let id = queue.next_lease;
        queue.next_lease += 1;
        queue.leases.push(Lease {
            id,
            holder,
            nonce,
            epoch: self.epoch,
            granted_at: self.now,
            items,
            timer: deadline,
            closed_at: None,
        });
        Ok(Granted { lease: LeaseId(id), nonce, deadline_ms: deadline, items: granted })
    }

    /// The lease and the item of an open delivery.
    fn token(&self, at: usize, holder: &Holder, token: &TokenRef) -> Result<(usize, usize), Not> {
        let queue = &self.queues[at];
        let lease_at = queue.leases.iter().position(|lease| lease.id == token.lease).ok_or(Not::Invalid)?;
        let lease = &queue.leases[lease_at];
        let theirs = lease.holder.tenant == holder.tenant && lease.holder.subject == holder.subject;
        let item = lease.items.get(token.index as usize).filter(|_| theirs && lease.nonce == token.nonce);
        let item = item.ok_or(Not::Invalid)?;
        match item.end {
            None => Ok((lease_at, token.index as usize)),
            Some(End::Settled(kind)) => Err(Not::Settled(kind)),
            Some(End::Lost) if queue.state(item.sequence) == State::Settled => Err(Not::SettledByAnother),
            Some(End::Lost) => Err(Not::Lost),
            Some(End::Purged) => Err(Not::Purged),
        }
    }

    pub fn settle(&mut self, command: &Settle) -> Result<Vec<SettleOutcome>, SubscriptionError> {
        let at = self.at(command.department, command.queue, command.subscription)?;
        let holder = command.holder.as_ref().unwrap();
        let mut outcomes = Vec::new();
        let one_by_one = command.items.iter().flat_map(|item| {
            let first = item.token.unwrap();
            (0..item.count.max(1))
                .map(move |behind| (item, TokenRef { index: first.index + behind, ..first }))
        });
        for (item, token) in one_by_one {
            outcomes.push(match self.token(at, holder, &token) {
                Ok((lease, index)) => {
                    self.end(at, lease, index, End::Settled(item.kind()), item.delay_ms);
                    SettleOutcome::Settled
                }
                Err(Not::Settled(kind)) => SettleOutcome::AlreadySettled(kind),
                Err(Not::Invalid) => SettleOutcome::TokenInvalid,
                Err(Not::Lost) => SettleOutcome::LeaseLost,
                Err(Not::SettledByAnother) => SettleOutcome::SettledByAnother,
                Err(Not::Purged) => SettleOutcome::MessagePurged,
            });
        }
        Ok(outcomes)
    }

    pub fn extend(&mut self, command: &Extend) -> Result<Vec<ExtendOutcome>, SubscriptionError> {
        let at = self.at(command.department, command.queue, command.subscription)?;
        let holder = command.holder.as_ref().unwrap();
        let deadline = self.now + command.duration_ms.clamp(SHORTEST, LONGEST);
        let mut outcomes = Vec::new();
        for token in &command.tokens {
            outcomes.push(match self.token(at, holder, token) {
                Ok((lease, index)) => {
                    let item = &mut self.queues[at].leases[lease].items[index];
                    item.deadline = item.deadline.max(deadline);
                    ExtendOutcome::Extended(item.deadline)
                }
                Err(Not::Settled(kind)) => ExtendOutcome::AlreadySettled(kind),
                Err(Not::Invalid) => ExtendOutcome::TokenInvalid,
                Err(Not::Lost) => ExtendOutcome::LeaseLost,
                Err(Not::SettledByAnother) => ExtendOutcome::SettledByAnother,
                Err(Not::Purged) => ExtendOutcome::MessagePurged,
            });
        }
        Ok(outcomes)
    }

    pub fn release(&mut self, command: &ReleaseHolder) -> Result<u32, SubscriptionError> {
        let at = self.at(command.department, command.queue, command.subscription)?;
        let mut released = 0;
        for lease in 0..self.queues[at].leases.len() {
            if Some(&self.queues[at].leases[lease].holder) != command.holder.as_ref() {
                continue;
            }
            for index in 0..self.queues[at].leases[lease].items.len() {
                if self.queues[at].leases[lease].items[index].end.is_none() {
                    self.end(at, lease, index, End::Settled(SettleKind::Release), 0);
                    released += 1;
                }
            }
        }
        Ok(released)
    }

    /// Ends an open delivery, and settles or returns its message.
    pub fn end(&mut self, at: usize, lease: usize, index: usize, end: End, delay: u64) {
        let (now, wall, epoch) = (self.now, self.wall, self.epoch);
        let queue = &mut self.queues[at];
        let held = &mut queue.leases[lease];
        held.items[index].end = Some(end);
        let (sequence, attempt) = (held.items[index].sequence, held.items[index].attempt);
        if held.items.iter().all(|item| item.end.is_some()) {
            held.closed_at = Some(now);
        }
        let (counts, leased) = (held.epoch == epoch, now - held.granted_at);
        match end {
            End::Settled(SettleKind::Ack) => {
                queue.sums.acked += 1;
                queue.sums.processing_ms += leased;
                queue.sums.last_acked_at_ms = wall;
            }
            End::Settled(SettleKind::Nack) => queue.sums.nacked += 1,
            End::Settled(SettleKind::Release) => queue.sums.released += 1,
            End::Lost => queue.sums.expired += 1,
            End::Settled(_) | End::Purged => {}
        }
        let delay = delay.min(30 * 24 * 3_600_000);
        match end {
            End::Settled(SettleKind::Ack) => queue.message(sequence).state = State::Settled,
            End::Settled(SettleKind::Nack) => self.failed(at, sequence, attempt, delay),
            End::Settled(SettleKind::DeadLetter) => {
                self.move_to_dead_letters(at, sequence, attempt - 1, DeadLetterCause::Consumer);
            }
            End::Lost if counts => self.failed(at, sequence, attempt, 0),
            _ => queue.message(sequence).state = State::Free,
        }
    }

    fn failed(&mut self, at: usize, sequence: u64, failures: u32, delay: u64) {
        let due = self.now + delay;
        let queue = &mut self.queues[at];
        if failures >= queue.settings.max_attempts {
            return self.move_to_dead_letters(at, sequence, failures, DeadLetterCause::MaxAttempts);
        }
        let message = queue.message(sequence);
        message.failures = failures;
        message.state = if delay > 0 { State::Waiting(due, None) } else { State::Free };
    }

    pub fn move_to_dead_letters(&mut self, at: usize, sequence: u64, failures: u32, cause: DeadLetterCause) {
        let queue = &mut self.queues[at];
        queue.message(sequence).failures = failures;
        let target = queue.settings.dead_letter_queue.clone();
        let (id, name) = (queue.id, queue.name.clone());
        if target.is_empty() {
            queue.message(sequence).state = State::Parked(cause);
            queue.sums.dead_lettered += 1;
            return;
        }
        let Some(to) = self.by_name(id.department.0, &target) else {
            self.queues[at].message(sequence).state = State::Waiting(self.now + 60_000, Some(cause));
            return;
        };
        self.queues[at].sums.dead_lettered += 1;
        self.queues[at].sums.moved += 1;
        let message = self.queues[at].message(sequence);
        message.state = State::Settled;
        let origin = DeadLetterOrigin {
            cause: cause.into(),
            queue: name,
            subscription: "default".into(),
            queue_id: id.queue.0,
            sequence,
            published_at_ms: message.wall_published_at,
            attempts: failures,
        };
        let (content, size) = (message.content.clone(), message.size);
        let (published_at, wall_published_at, origin) = (self.now, self.wall, Some(origin));
        let state = State::Free;
        let (failures, delivered) = (0, false);
        self.queues[to].messages.push(Message {
            content,
            size,
            published_at,
            wall_published_at,
            origin,
            failures,
            delivered,
            state,
        });
    }
}

//! Dead letters get another chance.

use posthouse_engine::{
    outcome::{RedriveError, RedriveOutcome},
    schema::RedriveDeadLetters,
};

use super::{Message, Model, State};

impl Model {
    pub fn redrive(&mut self, command: &RedriveDeadLetters) -> Result<Vec<RedriveOutcome>, RedriveError> {
        let at = self.at(command.department, command.queue, command.subscription)?;
        if command.target_queue != 0 && self.by_id(command.department, command.target_queue).is_none() {
            return Err(RedriveError::TargetNotFound);
        }
        Ok(command.sequences.iter().map(|at_| self.redrive_one(at, *at_, command.target_queue)).collect())
    }

    fn redrive_one(&mut self, at: usize, sequence: u64, target: u32) -> RedriveOutcome {
        let (now, here) = (self.now, self.queues[at].id);
        if sequence == 0 || sequence > self.queues[at].messages.len() as u64 {
            return RedriveOutcome::NotDeadLetter;
        }
        let message = self.queues[at].message(sequence).clone();
        let parked = matches!(message.state, State::Parked(_));
        let source = match (&message.state, &message.origin) {
            (State::Settled, _) => return RedriveOutcome::NotDeadLetter,
            (State::Leased, _) => return RedriveOutcome::Leased,
            (_, Some(origin)) => origin.queue_id,
            (_, None) if parked => here.queue.0,
            _ => return RedriveOutcome::NotDeadLetter,
        };
        let to = if target == 0 { source } else { target };
        if to == here.queue.0 {
            if !parked {
                return RedriveOutcome::NotDeadLetter;
            }
            let message = self.queues[at].message(sequence);
            (message.state, message.failures) = (State::Free, 0);
            return RedriveOutcome::Freed;
        }
        let Some(to) = self.by_id(here.department.0, to) else { return RedriveOutcome::QueueGone };
        self.queues[at].message(sequence).state = State::Settled;
        self.queues[at].sums.redriven += 1;
        let fresh = Message {
            published_at: now,
            origin: None,
            failures: 0,
            delivered: false,
            state: State::Free,
            ..message
        };
        self.queues[to].messages.push(fresh);
        let queue = &self.queues[to];
        RedriveOutcome::Moved { queue: queue.id.queue, sequence: queue.messages.len() as u64 }
    }
}

//! Redrives of dead letters.

use posthouse_engine::{
    outcome::{RedriveError, RedriveOutcome, Redriven},
    schema::{
        RedriveAnswer, RedriveDeadLetters, SkipReason,
        redrive_answer::{Count, Skipped},
    },
};

use super::{Message, Model, State};

impl Model {
    pub fn redrive(&mut self, command: &RedriveDeadLetters) -> Result<Redriven, RedriveError> {
        let at = self.at(command.department, command.queue, command.subscription)?;
        if command.target_queue != 0 && self.by_id(command.department, command.target_queue).is_none() {
            return Err(RedriveError::TargetNotFound);
        }
        let mut outcomes = Vec::new();
        for (index, sequence) in command.sequences.iter().enumerate() {
            outcomes.push(match command.passed_over.get(index).copied().unwrap_or(0) {
                0 => self.redrive_one(at, *sequence, command.target_queue),
                reason => RedriveOutcome::PassedOver(SkipReason::try_from(i32::from(reason)).unwrap()),
            });
        }
        let answer = answer(command, &outcomes);
        Ok(Redriven { outcomes, answer })
    }

    fn redrive_one(&mut self, at: usize, sequence: u64, target: u32) -> RedriveOutcome {
        let (now, wall, here) = (self.now, self.wall, self.queues[at].id);
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
            wall_published_at: wall,
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

/// The messages are so few that all are processed, and all skipped ones are named.
fn answer(command: &RedriveDeadLetters, outcomes: &[RedriveOutcome]) -> RedriveAnswer {
    let moved =
        |outcome: &&RedriveOutcome| matches!(outcome, RedriveOutcome::Moved { .. } | RedriveOutcome::Freed);
    let mut answer = RedriveAnswer {
        queue: command.queue,
        redriven: outcomes.iter().filter(moved).count() as u64,
        reached: u32::try_from(outcomes.len()).unwrap(),
        next_sequence: command.next_sequence,
        origins: command.origins.clone(),
        ..RedriveAnswer::default()
    };
    for (sequence, outcome) in command.sequences.iter().zip(outcomes).filter(|(_, outcome)| !moved(outcome)) {
        let reason = match outcome {
            RedriveOutcome::Leased => SkipReason::Leased,
            RedriveOutcome::QueueGone => SkipReason::QueueGone,
            RedriveOutcome::PassedOver(reason) => *reason,
            _ => SkipReason::NotDeadLetter,
        };
        answer.skipped.push(Skipped { sequence: *sequence, reason: reason.into() });
    }
    // Reasons are in the order in which they first occur.
    for skipped in answer.skipped.clone() {
        if !answer.counts.iter().any(|count| count.reason == skipped.reason) {
            let alike = answer.skipped.iter().filter(|other| other.reason == skipped.reason);
            answer.counts.push(Count { reason: skipped.reason, count: alike.count() as u64 });
        }
    }
    answer
}

//! The answer to a redrive: how many dead letters were redriven, which were skipped and why, and where to continue.

use crate::{
    ids::QueueId,
    limits::MAX_REDRIVE_NAMED,
    outcome::RedriveOutcome,
    schema::{
        RedriveAnswer, SkipReason,
        redrive_answer::{Count, Skipped},
    },
};

impl RedriveAnswer {
    /// The answer to a redrive of these dead letters of a queue, with the outcome of each, in order. The caller
    /// continues with the first that was not reached, or after the last with `next_sequence`.
    #[must_use]
    pub fn of(
        queue: QueueId,
        letters: impl IntoIterator<Item = (u64, RedriveOutcome)>,
        next_sequence: u64,
    ) -> Self {
        let mut answer = Self { queue: queue.0, next_sequence, ..Self::default() };
        for (sequence, outcome) in letters {
            match outcome {
                RedriveOutcome::Moved { .. } | RedriveOutcome::Freed => answer.redriven += 1,
                RedriveOutcome::NotReached => {
                    answer.next_sequence = sequence;
                    break;
                }
                RedriveOutcome::Leased => answer.skip(sequence, SkipReason::Leased),
                RedriveOutcome::NotDeadLetter => answer.skip(sequence, SkipReason::NotDeadLetter),
                RedriveOutcome::QueueGone => answer.skip(sequence, SkipReason::QueueGone),
                RedriveOutcome::PassedOver(reason) => answer.skip(sequence, reason),
            }
            answer.reached += 1;
        }
        answer
    }

    fn skip(&mut self, sequence: u64, reason: SkipReason) {
        if self.skipped.len() < MAX_REDRIVE_NAMED {
            self.skipped.push(Skipped { sequence, reason: reason.into() });
        }
        match self.counts.iter_mut().find(|count| count.reason() == reason) {
            Some(count) => count.count += 1,
            None => self.counts.push(Count { reason: reason.into(), count: 1 }),
        }
    }
}

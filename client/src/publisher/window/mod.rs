//! The unanswered batches, and what to do about each answer. It reads no clock and uses no network.
//!
//! The server accepts the batches of a session in the order of their sequences. A batch that it refuses as a whole uses
//! no sequences, so that it refuses all later ones for the gap. The window waits for these answers ("rewinds") and
//! sends the batches again: with the same sequences if the refusal is temporary, with new ones if the refused batch was
//! dropped.

mod verdict;

use std::{collections::VecDeque, mem};

use posthouse_proto::v1::{
    publish_stream_request as request,
    publish_stream_response::{BatchResult, batch_result::Outcome},
};
use tokio::time::Instant;

use self::verdict::{GAP, Rewind, verdict};
use super::{
    PublishError,
    batch::{Batch, Reserved},
};
use crate::error::{Error, Refusal};

#[derive(Debug, Default)]
pub(super) struct Window {
    /// The unanswered batches, oldest first. The first `sent` of them are on the stream.
    batches: VecDeque<NumberedBatch>,
    sent: usize,
    /// The number of batches on the stream without an answer.
    unanswered: usize,
    rewind: Option<Rewind>,
    next_sequence: u64,
    next_batch_id: u64,
    next_ordinal: u64,
    /// Space of the send buffer that was freed since the last [`Window::drain_freed`].
    freed: Reserved,
    first_failure: Option<PublishError>,
}

#[derive(Debug)]
struct NumberedBatch {
    batch: Batch,
    /// Its number among all batches of this publisher.
    ordinal: u64,
    /// Set when it is first sent, and changed only when the server certainly has not stored it.
    first_sequence: Option<u64>,
    /// Whether it was ever sent. From then on its messages stay the same.
    sent: bool,
    /// Its id on the current stream.
    batch_id: u64,
    answered: bool,
    /// The last answer was a sequence gap: the server has not stored it.
    behind_gap: bool,
    /// An earlier stream ended before its answer: the server may have stored it.
    in_doubt: bool,
}

/// What the publisher does after an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// The server has answered a batch.
    Progress,
    /// Wait for more answers.
    Wait,
    /// Send all batches again after a pause.
    Pause(Refusal),
    /// Send all batches again.
    Resend,
    /// Send all batches in a new epoch.
    NewEpoch,
    /// End the publisher.
    Stop(Error),
}

impl Window {
    /// Adds a batch to be sent.
    pub(super) fn push(&mut self, batch: Batch) {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.batches.push_back(NumberedBatch {
            batch,
            ordinal,
            first_sequence: None,
            sent: false,
            batch_id: 0,
            answered: false,
            behind_gap: false,
            in_doubt: false,
        });
    }

    /// Numbers the next batch and returns it, to be sent. Messages that expired before they were first sent are
    /// dropped.
    pub(super) fn send(&mut self, now: Instant) -> Option<request::Batch> {
        self.expire_unsent(now);
        let next = self.batches.get_mut(self.sent).filter(|_| self.rewind.is_none())?;
        let first_sequence = *next.first_sequence.get_or_insert(self.next_sequence);
        self.next_sequence = self.next_sequence.max(first_sequence + next.batch.len());
        next.behind_gap = false;
        next.sent = true;
        next.batch_id = self.next_batch_id;
        self.next_batch_id += 1;
        self.sent += 1;
        self.unanswered += 1;
        Some(request::Batch {
            batch_id: next.batch_id,
            messages: next.batch.messages.clone(),
            first_sequence,
            atomic: false,
        })
    }

    fn expire_unsent(&mut self, now: Instant) {
        while self.rewind.is_none()
            && let Some(next) = self.batches.get_mut(self.sent)
            && !next.sent
            && next.batch.has_expired(now)
        {
            let freed = next.batch.expire(now);
            let is_empty = next.batch.is_empty();
            self.free(freed);
            self.record_failure(Some(PublishError::Expired));
            if !is_empty {
                return;
            }
            self.batches.remove(self.sent);
        }
    }

    /// The number of batches that are sent and not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.unanswered
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.batches.len()
    }

    pub(super) fn is_rewinding(&self) -> bool {
        self.rewind.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The ordinal of the next batch that is pushed.
    pub(super) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    /// Whether every batch before this ordinal is answered.
    pub(super) fn is_done_before(&self, ordinal: u64) -> bool {
        self.batches.front().is_none_or(|oldest| oldest.ordinal >= ordinal)
    }

    pub(super) fn drain_freed(&mut self) -> Reserved {
        mem::take(&mut self.freed)
    }

    /// The first failure of a message since the last call.
    pub(super) fn pop_failure(&mut self) -> Option<PublishError> {
        self.first_failure.take()
    }

    /// Begins a stream whose server expects this sequence next. Returns `false` if that contradicts the answers of this
    /// session, so that it needs a new epoch.
    pub(super) fn opened(&mut self, expected: u64) -> bool {
        let oldest = self.batches.front().and_then(|oldest| oldest.first_sequence);
        (oldest.unwrap_or(self.next_sequence)..=self.next_sequence).contains(&expected)
    }

    /// Ends a stream. The server may have stored unanswered batches, which are sent again unchanged.
    pub(super) fn stream_ended(&mut self) {
        for batch in self.batches.iter_mut().take(self.sent) {
            batch.in_doubt = true;
            batch.answered = false;
        }
        (self.sent, self.unanswered, self.rewind) = (0, 0, None);
    }

    /// Begins a new epoch: numbers all batches again, from 0.
    pub(super) fn new_epoch(&mut self) {
        for batch in &mut self.batches {
            (batch.first_sequence, batch.in_doubt, batch.answered) = (None, false, false);
        }
        (self.sent, self.unanswered, self.rewind, self.next_sequence) = (0, 0, None, 0);
    }

    /// Handles one answer of the current stream.
    pub(super) fn answer(&mut self, result: BatchResult) -> Step {
        let id = result.batch_id;
        let found = self.batches.iter().take(self.sent).position(|it| it.batch_id == id && !it.answered);
        let Some(index) = found else {
            return Step::Stop(Error::Protocol("an answer to a batch that is not in flight"));
        };
        self.unanswered -= 1;
        let progress = match result.outcome {
            Some(Outcome::Results(results)) => {
                let Some(numbered) = self.remove(index) else { return Step::Wait };
                match numbered.batch.answer(results) {
                    Ok(failure) => self.record_failure(failure),
                    Err(batch) => {
                        let error = Error::Protocol("a batch's results are not one per message");
                        batch.fail(&PublishError::Stopped(error.clone()));
                        return Step::Stop(error);
                    }
                }
                Step::Progress
            }
            Some(Outcome::Error(status)) => {
                let refusal = Refusal::from(&status);
                if let Some(batch) = self.batches.get_mut(index) {
                    batch.answered = true;
                    batch.behind_gap = refusal.reason() == Some(GAP);
                }
                if self.rewind.is_none() {
                    match verdict(refusal) {
                        Ok(rewind) => self.rewind = Some(rewind),
                        Err(refusal) => return Step::Stop(Error::Refused(refusal)),
                    }
                }
                Step::Wait
            }
            None => return Step::Stop(Error::Protocol("a batch's answer is empty")),
        };
        if self.unanswered == 0 && self.rewind.is_some() { self.rewound() } else { progress }
    }

    /// Handles the reason of a rewind, once all batches on the stream are answered. Those that are left were refused.
    fn rewound(&mut self) -> Step {
        self.sent = 0;
        for batch in &mut self.batches {
            batch.answered = false;
        }
        match self.rewind.take() {
            None => Step::Wait,
            Some(Rewind::Passing(refusal)) => Step::Pause(refusal),
            Some(Rewind::Unknown) => Step::NewEpoch,
            Some(Rewind::Dropping(refusal)) => self.drop_oldest(refusal),
        }
    }

    fn drop_oldest(&mut self, refusal: Refusal) -> Step {
        let Some(dropped) = self.remove_oldest() else { return Step::Wait };
        let first_sequence = dropped.first_sequence.unwrap_or(0);
        if !dropped.in_doubt {
            self.fail(dropped, PublishError::Refused(refusal));
            self.next_sequence = first_sequence;
            for batch in &mut self.batches {
                batch.first_sequence = None;
            }
            return Step::Resend;
        }
        // An earlier attempt may have used these sequences after all. The server could then take other messages with
        // the same sequences for duplicates, and lose them; hence the new epoch. A batch that may be stored must not be
        // sent in it, because it could be stored twice.
        self.fail(dropped, PublishError::InDoubt(refusal.clone()));
        if self.batches.front().is_some_and(|next| !next.behind_gap) {
            while self.batches.front().is_some_and(|next| next.in_doubt) {
                let Some(next) = self.remove_oldest() else { break };
                self.fail(next, PublishError::InDoubt(refusal.clone()));
            }
        }
        Step::NewEpoch
    }

    fn fail(&mut self, numbered: NumberedBatch, error: PublishError) {
        numbered.batch.fail(&error);
        self.record_failure(Some(error));
    }

    /// Fails all messages, because the publisher has ended.
    pub(super) fn fail_all(&mut self, error: &PublishError) {
        while let Some(numbered) = self.remove_oldest() {
            numbered.batch.fail(error);
        }
        (self.sent, self.unanswered, self.rewind) = (0, 0, None);
    }

    fn remove(&mut self, index: usize) -> Option<NumberedBatch> {
        let removed = self.batches.remove(index)?;
        self.sent = self.sent.saturating_sub(1);
        self.free(removed.batch.reserved());
        Some(removed)
    }

    fn free(&mut self, freed: Reserved) {
        self.freed.bytes += freed.bytes;
        self.freed.messages += freed.messages;
    }

    fn remove_oldest(&mut self) -> Option<NumberedBatch> {
        self.remove(0)
    }

    /// Records a failure, unless there is an earlier one.
    pub(super) fn record_failure(&mut self, failure: Option<PublishError>) {
        if self.first_failure.is_none() {
            self.first_failure = failure;
        }
    }
}

#[cfg(test)]
mod tests;

//! The batches that the server has not answered, and what to do with each answer. It knows no clock and no network.
//!
//! The server takes a session's batches in the order of their sequences. A batch that it refuses whole takes no
//! sequences, so every later one that was sent already is refused as well, for the gap. The window then waits for
//! these answers ("rewinds") and the batches are sent again: with the same numbers when the refusal will pass, with
//! closed-up numbers when the refused one was dropped.

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
    /// Oldest first; the first `sent` of them are on the stream.
    batches: VecDeque<NumberedBatch>,
    sent: usize,
    /// Of those, the ones without an answer.
    unanswered: usize,
    rewind: Option<Rewind>,
    next_sequence: u64,
    next_batch_id: u64,
    next_ordinal: u64,
    /// SendBuffer that was freed since it was last asked for.
    freed: Reserved,
    first_failure: Option<PublishError>,
}

#[derive(Debug)]
struct NumberedBatch {
    batch: Batch,
    /// Its place among all batches of this publisher.
    ordinal: u64,
    /// Given when it is first sent; changes only when it is certain that the server has not stored it.
    first_sequence: Option<u64>,
    /// From then on it stays as it is.
    sent: bool,
    /// The id it has on the current stream.
    batch_id: u64,
    answered: bool,
    /// The last answer was that the server has not come so far: it is not stored.
    behind_gap: bool,
    /// It was sent on an earlier stream, which ended before the answer: it may be stored.
    in_doubt: bool,
}

/// What an answer led to.
#[derive(Debug)]
pub(super) enum Step {
    /// The server works batches off.
    Progress,
    /// Nothing to do yet.
    Wait,
    /// Everything was refused and can be sent again, after a pause.
    Pause(Refusal),
    /// Everything was refused and can be sent again.
    Resend,
    /// Everything was refused and must be sent in a new epoch.
    NewEpoch,
    /// The publisher cannot go on.
    Stop(Error),
}

impl Window {
    /// Adds a closed batch, to be sent.
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

    /// The next batch to send, numbered. What expired before it was sent for the first time is left out.
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

    /// How many batches are sent and not answered.
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

    /// Batches pushed from now on have this ordinal or a later one.
    pub(super) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    /// Whether every batch before this ordinal has its answer.
    pub(super) fn is_done_before(&self, ordinal: u64) -> bool {
        self.batches.front().is_none_or(|oldest| oldest.ordinal >= ordinal)
    }

    pub(super) fn drain_freed(&mut self) -> Reserved {
        mem::take(&mut self.freed)
    }

    /// The first failure of a message since this was last asked for.
    pub(super) fn pop_failure(&mut self) -> Option<PublishError> {
        self.first_failure.take()
    }

    /// A stream was opened and the server told which sequence it expects next. `false`: that cannot follow what this
    /// session has been told is stored, so it must go on in a new epoch.
    pub(super) fn opened(&mut self, expected: u64) -> bool {
        let oldest = self.batches.front().and_then(|oldest| oldest.first_sequence);
        (oldest.unwrap_or(self.next_sequence)..=self.next_sequence).contains(&expected)
    }

    /// The stream ended: what was not answered may be stored, and is sent again as it was.
    pub(super) fn stream_ended(&mut self) {
        for batch in self.batches.iter_mut().take(self.sent) {
            batch.in_doubt = true;
            batch.answered = false;
        }
        (self.sent, self.unanswered, self.rewind) = (0, 0, None);
    }

    /// Numbers everything anew, from 0.
    pub(super) fn new_epoch(&mut self) {
        for batch in &mut self.batches {
            (batch.first_sequence, batch.in_doubt, batch.answered) = (None, false, false);
        }
        (self.sent, self.unanswered, self.rewind, self.next_sequence) = (0, 0, None, 0);
    }

    /// Takes one answer of the current stream.
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

    /// Everything that was sent is answered, and what is left of it was refused.
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
        // An earlier attempt may have reserved its sequences after all. Giving them to other messages could make the
        // server take those for duplicates, and lose them; hence the new epoch. A batch that may be stored must not
        // go into it: it could be stored twice.
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

    /// Tells every message that the publisher has ended.
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

    /// Unless there was one before.
    pub(super) fn record_failure(&mut self, failure: Option<PublishError>) {
        if self.first_failure.is_none() {
            self.first_failure = failure;
        }
    }
}

#[cfg(test)]
mod tests;

//! Settlements that are queued or in flight. Few frames are in flight at a time, so that settlements queued meanwhile
//! share the next frame.

use std::collections::VecDeque;

use posthouse_proto::v1::{self, settle_result};

use super::{SettleError, command::Settle, ledger::Lease};
use crate::error::{Error, Refusal};

const FRAMES_IN_FLIGHT: usize = 4;
/// Limit of frames in flight while fewer than [`FEW`] settlements wait, because a frame costs the server more than a
/// settlement.
const SMALL_FRAMES_IN_FLIGHT: usize = 2;
const FEW: usize = 128;
const SETTLEMENTS_PER_FRAME: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Settlements {
    waiting: VecDeque<Settle>,
    in_flight: VecDeque<Frame>,
    next_id: u64,
}

#[derive(Debug)]
struct Frame {
    id: u64,
    settles: Vec<Settle>,
}

impl Settlements {
    pub(super) fn push(&mut self, settle: Settle) {
        self.waiting.push_back(settle);
    }

    /// Returns the next frame to send; `None` if nothing is queued or enough frames are in flight.
    pub(super) fn next_frame(&mut self) -> Option<v1::SettleFrame> {
        let max = if self.waiting.len() < FEW { SMALL_FRAMES_IN_FLIGHT } else { FRAMES_IN_FLIGHT };
        if self.waiting.is_empty() || self.in_flight.len() >= max {
            return None;
        }
        let count = self.waiting.len().min(SETTLEMENTS_PER_FRAME);
        let settles: Vec<Settle> = self.waiting.drain(..count).collect();
        let settlements = settles.iter().map(Settle::wire).collect();
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight.push_back(Frame { id, settles });
        Some(v1::SettleFrame { settle_id: id, settlements })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number of settlements without a confirmation.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.iter().map(|frame| frame.settles.len()).sum::<usize>()
    }

    /// Sends each result to its responder, and calls `settled` with each lease.
    pub(super) fn answer(
        &mut self,
        answer: v1::SettledFrame,
        mut settled: impl FnMut(&Lease),
    ) -> Result<(), Error> {
        let index = self.in_flight.iter().position(|frame| frame.id == answer.settle_id);
        let Some(frame) = index.and_then(|index| self.in_flight.remove(index)) else {
            return Err(Error::Protocol("results of settlements that are not in flight"));
        };
        let count = frame.settles.len();
        let fits = if answer.results.is_empty() { answer.all_settled as usize } else { answer.results.len() };
        if fits != count {
            self.in_flight.push_front(frame);
            return Err(Error::Protocol("results that are not one per settlement"));
        }
        let mut results = answer.results.into_iter();
        for settle in frame.settles {
            settled(&settle.lease);
            settle.responder.send(results.next().map_or(Ok(()), outcome));
        }
        Ok(())
    }

    /// Queues what was not confirmed again, in its old order; the server treats a repeated settlement as the same.
    pub(super) fn stream_ended(&mut self) {
        while let Some(frame) = self.in_flight.pop_back() {
            for settle in frame.settles.into_iter().rev() {
                self.waiting.push_front(settle);
            }
        }
    }

    pub(super) fn fail_all(&mut self, error: &SettleError) {
        self.stream_ended();
        for settle in self.waiting.drain(..) {
            settle.responder.send(Err(error.clone()));
        }
    }
}

impl Settle {
    fn wire(&self) -> v1::Settlement {
        v1::Settlement { token: self.lease.token.clone(), action: self.action.into(), delay: self.delay }
    }
}

fn outcome(result: v1::SettleResult) -> Result<(), SettleError> {
    match result.result {
        // `AlreadySettled`: it reached the server before the connection broke.
        Some(settle_result::Result::Settled(_) | settle_result::Result::AlreadySettled(_)) => Ok(()),
        Some(settle_result::Result::Error(status)) => Err(SettleError::Refused(Refusal::from(&status))),
        None => Err(SettleError::Closed),
    }
}

//! Acknowledgements without an answer, and their outcomes.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use posthouse_client::{Delivery, ErrorKind, ErrorReason as Reason, SettleError, Settling};

use crate::{exit::Exit, failure::Failure, stderr};

/// Acknowledgements without an answer; more would only take memory.
const MAX_AWAITED: usize = 65_536;

/// Acknowledgements in the order in which they were sent.
#[derive(Default)]
pub struct Acks {
    awaited: VecDeque<Settling>,
    refused: u64,
    /// Messages that were written and then purged: they are not delivered again.
    purged: u64,
    last_refusal: Option<SettleError>,
}

impl Acks {
    /// Acknowledges written messages.
    pub async fn add(&mut self, written: Vec<Delivery>) {
        self.awaited.extend(written.into_iter().map(Delivery::ack));
        loop {
            let full = self.awaited.len() > MAX_AWAITED;
            let Some(first) = self.awaited.front_mut() else { return };
            let answer = match first.now_or_never() {
                Some(answer) => answer,
                None if full => first.await,
                None => return,
            };
            self.awaited.pop_front();
            self.count(answer);
        }
    }

    /// Waits for the remaining answers. Fails if a written message may be delivered again.
    pub async fn finish(mut self) -> Result<(), Failure> {
        while let Some(first) = self.awaited.pop_front() {
            let answer = first.await;
            self.count(answer);
        }
        if self.purged > 0 {
            let count = self.purged;
            stderr::notice(format_args!(
                "{count} written messages were purged, or deleted with their queue, before they were acknowledged: \
                 they do not come again"
            ));
        }
        let Some(refusal) = self.last_refusal else { return Ok(()) };
        let what = format!("{} written messages may be delivered again: {refusal}", self.refused);
        match refusal.kind() {
            ErrorKind::LeaseLost => Err(Failure::new(Exit::TempFail, what, "give the queue a longer lease")),
            _ => Err(Failure::advised(Exit::TempFail, what)),
        }
    }

    fn count(&mut self, answer: Result<(), SettleError>) {
        match answer {
            Ok(()) => {}
            // A message that was deleted with its queue is not delivered again.
            Err(error)
                if matches!(error.error_reason(), Some(Reason::MessagePurged | Reason::QueueDeleted)) =>
            {
                self.purged += 1;
            }
            Err(error) => {
                self.refused += 1;
                self.last_refusal = Some(error);
            }
        }
    }
}

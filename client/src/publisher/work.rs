//! The work on one open stream: it reads answers, sends batches, and does what is due by the clock.

use std::time::Duration;

use posthouse_proto::v1::{self, publish_stream_request as request, publish_stream_response::Frame};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    PublishError,
    driver::{Driver, WorkEnd},
    stream::PublishStream,
    window::Step,
};
use crate::{
    error::Error,
    stream::{StreamEnd, TOKEN_INTERVAL},
};

/// After this time without an answer the client treats the server as dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for the answers of a draining server.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// While this many batches are unanswered, a batch that is not full waits for one of their answers.
const UNFILLED_IN_FLIGHT: usize = 4;

impl Driver {
    /// Works on the stream until it ends.
    pub(super) async fn work(&mut self, stream: &mut PublishStream) -> WorkEnd {
        let mut token_due = Instant::now() + TOKEN_INTERVAL;
        let mut answer_due = None;
        loop {
            if !self.send(stream) {
                return WorkEnd::failed(stream.failure().await);
            }
            if self.commands_ended && self.window.is_empty() && self.open_batch.is_empty() {
                return WorkEnd::Stream(StreamEnd::Finished);
            }
            match self.window.in_flight() {
                0 => answer_due = None,
                _ => _ = answer_due.get_or_insert_with(|| Instant::now() + ANSWER_TIMEOUT),
            }
            let wake = [self.send_due(), answer_due].into_iter().flatten().fold(token_due, Instant::min);
            tokio::select! {
                biased;
                frame = stream.next() => {
                    answer_due = None;
                    if let Some(end) = self.handle_frame(stream, frame).await {
                        return end;
                    }
                }
                () = Self::receive_from(&mut self.commands, &mut self.received), if !self.commands_ended => {
                    self.handle_commands();
                }
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if answer_due.is_some_and(|due| due <= now) {
                return WorkEnd::failed(Error::timed_out(ANSWER_TIMEOUT));
            }
            if token_due <= now {
                stream.refresh_token(&self.session.target.context).await;
                token_due = now + TOKEN_INTERVAL;
            }
        }
    }

    async fn handle_frame(
        &mut self,
        stream: &mut PublishStream,
        frame: Result<Option<Frame>, Error>,
    ) -> Option<WorkEnd> {
        match frame {
            Ok(Some(Frame::BatchResult(result))) => {
                let step = self.window.answer(result);
                self.handle_step(stream, step).await
            }
            Ok(Some(Frame::Drain(drain))) => Some(self.receive_last_answers(stream, drain).await),
            Ok(Some(Frame::TokenRefreshed(_))) => None,
            Ok(Some(Frame::Opened(_))) => {
                Some(WorkEnd::failed(Error::Protocol("the stream was opened twice")))
            }
            Ok(None) => Some(WorkEnd::failed(Error::broken("the server ended the stream"))),
            Err(error) => Some(WorkEnd::failed(error)),
        }
    }

    async fn handle_step(&mut self, stream: &mut PublishStream, step: Step) -> Option<WorkEnd> {
        self.buffer.release(self.window.drain_freed());
        self.answer_flushes();
        match step {
            Step::Progress => self.backoff.reset(),
            Step::Wait | Step::Resend => {}
            Step::NewEpoch => return Some(WorkEnd::NewEpoch),
            Step::Stop(error) => return Some(WorkEnd::Publisher(PublishError::Stopped(error))),
            Step::Pause(refusal) => {
                tracing::debug!(queue = self.session.target.queue, error = %refusal, "batches will be sent again");
                let error = Error::Refused(refusal);
                let Some(delay) = self.backoff.delay_after(&error) else {
                    return Some(WorkEnd::Publisher(PublishError::ended(error, self.backoff.failing_for())));
                };
                self.paused_until = Some(Instant::now() + delay);
                stream.refresh_token(&self.session.target.context).await;
            }
        }
        None
    }

    /// Closes the stream, and handles the answers that the draining server still sends.
    async fn receive_last_answers(&mut self, stream: &mut PublishStream, drain: v1::Drain) -> WorkEnd {
        stream.half_close();
        let until = Instant::now() + DRAIN_TIMEOUT;
        while let Ok(Ok(Some(frame))) = timeout_at(until, stream.next()).await {
            let Frame::BatchResult(result) = frame else { continue };
            match self.window.answer(result) {
                Step::NewEpoch => return WorkEnd::NewEpoch,
                Step::Stop(error) => return WorkEnd::Publisher(PublishError::Stopped(error)),
                _ => {}
            }
            self.buffer.release(self.window.drain_freed());
            self.answer_flushes();
        }
        WorkEnd::Stream(StreamEnd::drained(drain))
    }

    /// Sends all batches that are due; `false` if the transport accepts no more.
    fn send(&mut self, stream: &PublishStream) -> bool {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| until > now) {
            return true;
        }
        self.paused_until = None;
        while self.may_send() {
            if !self.window.has_unsent() {
                if self.open_batch_due().is_none_or(|due| due > now) {
                    break;
                }
                self.close_batch();
            }
            let batch = self.window.send(now);
            let expired = self.window.drain_freed();
            if expired.messages > 0 {
                self.buffer.release(expired);
                self.answer_flushes();
            }
            let Some(batch) = batch else { continue };
            if !stream.send(request::Frame::Batch(batch)) {
                return false;
            }
        }
        true
    }

    fn may_send(&self) -> bool {
        !self.window.is_rewinding() && self.window.in_flight() < self.settings.max_in_flight_batches
    }

    /// When something is due to be sent, if no command or answer comes before.
    fn send_due(&self) -> Option<Instant> {
        self.paused_until.or_else(|| self.open_batch_due().filter(|_| self.may_send()))
    }

    /// When the open batch is due; `None` if it is empty, or has to wait for an answer.
    fn open_batch_due(&self) -> Option<Instant> {
        let linger = if self.commands_ended { Duration::ZERO } else { self.settings.linger };
        let since = self.open_batch.since.filter(|_| self.window.in_flight() < UNFILLED_IN_FLIGHT);
        since.map(|since| since + linger)
    }
}

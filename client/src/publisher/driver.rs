//! The task of one publisher: it alone touches the stream.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use posthouse_proto::v1::{self, publish_stream_request as request, publish_stream_response::Frame};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    PublishError,
    batch::{Accepted, Batch, Item},
    room::Room,
    settings::Settings,
    stream::{ProducerSession, PublishStream},
    window::{Step, Window},
};
use crate::{
    error::Error,
    retry::Patience,
    stream::{StreamEnd, TOKEN_INTERVAL},
};

/// A server that answers nothing for so long is taken for dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a draining server may take to answer what it has, and a closed stream to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const END_TIMEOUT: Duration = Duration::from_secs(1);
const ITEMS_AT_ONCE: usize = 1024;
/// A batch that is not full waits for an answer while so many have none.
const UNFILLED_IN_FLIGHT: usize = 4;

#[derive(Debug)]
pub(super) struct Driver {
    session: ProducerSession,
    settings: Settings,
    items: mpsc::UnboundedReceiver<Item>,
    received: Vec<Item>,
    room: Arc<Room>,
    /// The batch that is being gathered.
    filling: Batch,
    window: Window,
    flushes: VecDeque<Flush>,
    patience: Patience,
    /// The server wants a pause until then.
    hold_until: Option<Instant>,
    /// No more items will come.
    ending: bool,
}

#[derive(Debug)]
struct Flush {
    before: u64,
    done: oneshot::Sender<Result<(), PublishError>>,
}

/// Why the work on a stream has ended, or that of the publisher.
#[derive(Debug)]
enum WorkEnd {
    Stream(StreamEnd),
    NewEpoch,
    Publisher(PublishError),
}

impl WorkEnd {
    fn failed(error: Error) -> Self {
        Self::Stream(StreamEnd::Failed(error))
    }
}

impl Driver {
    pub(super) fn new(
        session: ProducerSession,
        settings: Settings,
        items: mpsc::UnboundedReceiver<Item>,
        room: Arc<Room>,
    ) -> Self {
        Self {
            session,
            settings,
            items,
            received: Vec::new(),
            room,
            filling: Batch::default(),
            window: Window::default(),
            flushes: VecDeque::new(),
            patience: Patience::new(settings.give_up_after),
            hold_until: None,
            ending: false,
        }
    }

    pub(super) async fn run(mut self, mut stream: PublishStream) {
        let error = loop {
            let mut hint = None;
            let mut failure = None;
            let end = self.work(&mut stream).await;
            self.window.stream_ended();
            match end {
                WorkEnd::Stream(StreamEnd::Finished) => {
                    stream.half_close();
                    let _ = timeout(END_TIMEOUT, stream.next()).await;
                    return;
                }
                WorkEnd::Stream(StreamEnd::Moved(to)) => hint = to,
                WorkEnd::NewEpoch => self.begin_epoch(),
                WorkEnd::Stream(StreamEnd::Failed(error)) => {
                    tracing::debug!(queue = self.session.target.queue, %error, "publish stream ended");
                    failure = Some(error);
                }
                WorkEnd::Publisher(error) => break error,
            }
            drop(stream);
            match self.reopen(hint, failure).await {
                Ok(Some(next)) => stream = next,
                Ok(None) => return,
                Err(error) => break error,
            }
        };
        tracing::warn!(queue = self.session.target.queue, %error, "publisher ended");
        self.stop(&error);
    }

    /// `None`: there is nothing left to do.
    async fn reopen(
        &mut self,
        mut hint: Option<String>,
        mut failure: Option<Error>,
    ) -> Result<Option<PublishStream>, PublishError> {
        loop {
            if !self.wait_for_work().await {
                return Ok(None);
            }
            if let Some(error) = failure.take() {
                match self.patience.after(&error) {
                    Some(delay) => sleep(delay).await,
                    None => return Err(PublishError::ended(error, self.patience.waited())),
                }
            }
            match self.session.open(hint.take().as_deref()).await {
                Ok(stream) if self.window.opened(stream.opened.next_sequence) => {
                    self.hold_until = None;
                    return Ok(Some(stream));
                }
                Ok(_) => {
                    self.begin_epoch();
                    failure = Some(Error::broken("the server does not know the producer session as it was"));
                }
                Err(error) => failure = Some(error),
            }
        }
    }

    /// Nothing to send needs no connection; `false`: nothing will come any more.
    async fn wait_for_work(&mut self) -> bool {
        while self.window.is_empty() && self.filling.is_empty() {
            self.answer_flushes();
            if self.ending {
                return false;
            }
            self.receive().await;
            // A failure while there was nothing to do does not count.
            self.patience.reset();
        }
        true
    }

    /// Works on one stream until there is a reason to leave it.
    async fn work(&mut self, stream: &mut PublishStream) -> WorkEnd {
        let mut token_due = Instant::now() + TOKEN_INTERVAL;
        let mut answer_due = None;
        loop {
            if !self.send(stream) {
                return WorkEnd::failed(stream.failure().await);
            }
            if self.ending && self.window.is_empty() && self.filling.is_empty() {
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
                    if let Some(end) = self.take_frame(stream, frame).await {
                        return end;
                    }
                }
                () = Self::receive_from(&mut self.items, &mut self.received), if !self.ending => self.accept(),
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

    async fn take_frame(
        &mut self,
        stream: &mut PublishStream,
        frame: Result<Option<Frame>, Error>,
    ) -> Option<WorkEnd> {
        match frame {
            Ok(Some(Frame::BatchResult(result))) => {
                let step = self.window.answer(result);
                self.take_step(stream, step).await
            }
            Ok(Some(Frame::Drain(drain))) => Some(self.leave_draining(stream, drain).await),
            Ok(Some(Frame::TokenRefreshed(_))) => None,
            Ok(Some(Frame::Opened(_))) => {
                Some(WorkEnd::failed(Error::Protocol("the stream was opened twice")))
            }
            Ok(None) => Some(WorkEnd::failed(Error::broken("the server ended the stream"))),
            Err(error) => Some(WorkEnd::failed(error)),
        }
    }

    async fn take_step(&mut self, stream: &mut PublishStream, step: Step) -> Option<WorkEnd> {
        self.room.give_back(self.window.take_freed());
        self.answer_flushes();
        match step {
            Step::Progress => self.patience.reset(),
            Step::Wait | Step::Resend => {}
            Step::NewEpoch => return Some(WorkEnd::NewEpoch),
            Step::Stop(error) => return Some(WorkEnd::Publisher(PublishError::Stopped(error))),
            Step::Pause(refusal) => {
                tracing::debug!(queue = self.session.target.queue, error = %refusal, "batches will be sent again");
                let error = Error::Refused(refusal);
                let Some(delay) = self.patience.after(&error) else {
                    return Some(WorkEnd::Publisher(PublishError::ended(error, self.patience.waited())));
                };
                self.hold_until = Some(Instant::now() + delay);
                stream.refresh_token(&self.session.target.context).await;
            }
        }
        None
    }

    /// Takes the answers that the draining server still gives.
    async fn leave_draining(&mut self, stream: &mut PublishStream, drain: v1::Drain) -> WorkEnd {
        stream.half_close();
        let until = Instant::now() + DRAIN_TIMEOUT;
        while let Ok(Ok(Some(frame))) = tokio::time::timeout_at(until, stream.next()).await {
            let Frame::BatchResult(result) = frame else { continue };
            match self.window.answer(result) {
                Step::NewEpoch => return WorkEnd::NewEpoch,
                Step::Stop(error) => return WorkEnd::Publisher(PublishError::Stopped(error)),
                _ => {}
            }
            self.room.give_back(self.window.take_freed());
            self.answer_flushes();
        }
        WorkEnd::Stream(StreamEnd::drained(drain))
    }

    /// Sends all that may be sent now; `false`: the transport takes no more.
    fn send(&mut self, stream: &PublishStream) -> bool {
        let now = Instant::now();
        if self.hold_until.is_some_and(|until| until > now) {
            return true;
        }
        self.hold_until = None;
        while self.may_send() {
            if !self.window.has_unsent() {
                if self.filling_due().is_none_or(|due| due > now) {
                    break;
                }
                self.close_batch();
            }
            let batch = self.window.send(now);
            let expired = self.window.take_freed();
            if expired.messages > 0 {
                self.room.give_back(expired);
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

    /// When there will be something to send without anything coming in.
    fn send_due(&self) -> Option<Instant> {
        self.hold_until.or_else(|| self.filling_due().filter(|_| self.may_send()))
    }

    /// When the batch that is not full goes; `None`: there is nothing in it, or an answer has to come first.
    fn filling_due(&self) -> Option<Instant> {
        let linger = if self.ending { Duration::ZERO } else { self.settings.linger };
        let since = self.filling.since.filter(|_| self.window.in_flight() < UNFILLED_IN_FLIGHT);
        since.map(|since| since + linger)
    }

    fn close_batch(&mut self) {
        if !self.filling.is_empty() {
            self.window.push(mem::take(&mut self.filling));
        }
    }

    async fn receive(&mut self) {
        Self::receive_from(&mut self.items, &mut self.received).await;
        self.accept();
    }

    async fn receive_from(items: &mut mpsc::UnboundedReceiver<Item>, received: &mut Vec<Item>) {
        items.recv_many(received, ITEMS_AT_ONCE).await;
    }

    fn accept(&mut self) {
        // Nothing is received only when all handles are gone, or closed.
        self.ending = self.received.is_empty();
        let mut received = mem::take(&mut self.received);
        for item in received.drain(..) {
            match item {
                Item::Message(accepted) => self.fill(accepted),
                Item::Messages(all) => all.into_iter().for_each(|accepted| self.fill(accepted)),
                Item::Failed(error) => self.window.note_failure(Some(error)),
                Item::Send => self.close_batch(),
                Item::Flush(done) => self.flush(done),
                Item::Close(done) => {
                    self.room.close(PublishError::Closed);
                    self.items.close();
                    self.flush(done);
                }
            }
        }
        self.received = received;
        self.answer_flushes();
    }

    fn fill(&mut self, accepted: Accepted) {
        if self.filling.bytes + accepted.bytes > self.settings.batch_bytes {
            self.close_batch();
        }
        self.filling.push(accepted);
        if self.filling.messages.len() >= self.settings.batch_messages {
            self.close_batch();
        }
    }

    fn flush(&mut self, done: oneshot::Sender<Result<(), PublishError>>) {
        self.close_batch();
        self.flushes.push_back(Flush { before: self.window.next_ordinal(), done });
    }

    fn answer_flushes(&mut self) {
        while let Some(flush) = self.flushes.pop_front_if(|it| self.window.is_done_before(it.before)) {
            let _ = flush.done.send(self.window.take_failure().map_or(Ok(()), Err));
        }
    }

    fn begin_epoch(&mut self) {
        self.session.epoch += 1;
        tracing::debug!(queue = self.session.target.queue, epoch = self.session.epoch, "new producer epoch");
        self.window.new_epoch();
    }

    fn stop(&mut self, error: &PublishError) {
        self.room.close(error.clone());
        self.items.close();
        mem::take(&mut self.filling).fail(error);
        self.window.fail_all(error);
        while let Ok(item) = self.items.try_recv() {
            match item {
                Item::Message(accepted) => accepted.answer.tell(Err(error.clone())),
                Item::Messages(all) => {
                    all.into_iter().for_each(|accepted| accepted.answer.tell(Err(error.clone())));
                }
                Item::Send | Item::Failed(_) => {}
                Item::Flush(done) | Item::Close(done) => _ = done.send(Err(error.clone())),
            }
        }
        for flush in self.flushes.drain(..) {
            let _ = flush.done.send(Err(error.clone()));
        }
    }
}

//! The task of one publisher: it alone touches the stream.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use posthouse_proto::v1::publish_stream_response::Frame;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    PublishError,
    batch::{Accepted, Batch, Item},
    builder::Settings,
    room::Room,
    stream::{PublishStream, Session},
    window::{Step, Window},
};
use crate::{
    error::{ConnectError, Error},
    retry::Patience,
};

/// How often the token file is looked at.
const TOKEN_INTERVAL: Duration = Duration::from_secs(5);
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
    session: Session,
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

/// Why a stream is left.
#[derive(Debug)]
enum Leave {
    Finished,
    /// The server asked to go elsewhere.
    Moved(Option<String>),
    NewEpoch,
    Failed(Error),
    Ended(PublishError),
}

impl Driver {
    pub(super) fn new(
        session: Session,
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
            let leave = self.work(&mut stream).await;
            self.window.stream_ended();
            match leave {
                Leave::Finished => {
                    stream.half_close();
                    let _ = timeout(END_TIMEOUT, stream.next()).await;
                    return;
                }
                Leave::Moved(to) => hint = to,
                Leave::NewEpoch => self.begin_epoch(),
                Leave::Failed(error) => {
                    tracing::debug!(queue = self.session.queue, %error, "publish stream ended");
                    failure = Some(error);
                }
                Leave::Ended(error) => break error,
            }
            drop(stream);
            match self.reopen(hint, failure).await {
                Ok(Some(next)) => stream = next,
                Ok(None) => return,
                Err(error) => break error,
            }
        };
        tracing::warn!(queue = self.session.queue, %error, "publisher ended");
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
            match PublishStream::open(&self.session, hint.take().as_deref()).await {
                Ok(stream) if self.window.opened(stream.opened.next_sequence) => {
                    self.hold_until = None;
                    return Ok(Some(stream));
                }
                Ok(_) => {
                    self.begin_epoch();
                    let unknown = "the server does not know the producer session as it was";
                    failure = Some(Error::Connect(ConnectError::Broken(unknown.into())));
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
    async fn work(&mut self, stream: &mut PublishStream) -> Leave {
        let mut token_due = Instant::now() + TOKEN_INTERVAL;
        let mut answer_due = None;
        loop {
            if !self.send(stream) {
                return Leave::Failed(stream.failure().await);
            }
            if self.ending && self.window.is_empty() && self.filling.is_empty() {
                return Leave::Finished;
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
                    if let Some(leave) = self.take_frame(stream, frame).await {
                        return leave;
                    }
                }
                () = Self::receive_from(&mut self.items, &mut self.received), if !self.ending => self.accept(),
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if answer_due.is_some_and(|due| due <= now) {
                return Leave::Failed(Error::Connect(ConnectError::TimedOut(ANSWER_TIMEOUT)));
            }
            if token_due <= now {
                stream.refresh_token(&self.session.context).await;
                token_due = now + TOKEN_INTERVAL;
            }
        }
    }

    async fn take_frame(
        &mut self,
        stream: &mut PublishStream,
        frame: Result<Option<Frame>, Error>,
    ) -> Option<Leave> {
        match frame {
            Ok(Some(Frame::BatchResult(result))) => {
                let step = self.window.answer(result);
                self.take_step(stream, step).await
            }
            Ok(Some(Frame::Drain(drain))) => Some(self.leave_draining(stream, drain.endpoint).await),
            Ok(Some(Frame::TokenRefreshed(_))) => None,
            Ok(Some(Frame::Opened(_))) => Some(Leave::Failed(Error::Protocol("the stream was opened twice"))),
            Ok(None) => Some(Leave::Failed(Error::Connect(ConnectError::Broken(
                "the server ended the stream".into(),
            )))),
            Err(error) => Some(Leave::Failed(error)),
        }
    }

    async fn take_step(&mut self, stream: &mut PublishStream, step: Step) -> Option<Leave> {
        self.room.give_back(self.window.take_freed());
        self.answer_flushes();
        match step {
            Step::Progress => self.patience.reset(),
            Step::Wait | Step::Resend => {}
            Step::NewEpoch => return Some(Leave::NewEpoch),
            Step::Stop(error) => return Some(Leave::Ended(PublishError::Stopped(error))),
            Step::Pause(refusal) => {
                tracing::debug!(queue = self.session.queue, error = %refusal, "batches will be sent again");
                let error = Error::Refused(refusal);
                let Some(delay) = self.patience.after(&error) else {
                    return Some(Leave::Ended(PublishError::ended(error, self.patience.waited())));
                };
                self.hold_until = Some(Instant::now() + delay);
                stream.refresh_token(&self.session.context).await;
            }
        }
        None
    }

    /// Takes the answers that the draining server still gives.
    async fn leave_draining(&mut self, stream: &mut PublishStream, endpoint: String) -> Leave {
        stream.half_close();
        let until = Instant::now() + DRAIN_TIMEOUT;
        while let Ok(Ok(Some(frame))) = tokio::time::timeout_at(until, stream.next()).await {
            let Frame::BatchResult(result) = frame else { continue };
            match self.window.answer(result) {
                Step::NewEpoch => return Leave::NewEpoch,
                Step::Stop(error) => return Leave::Ended(PublishError::Stopped(error)),
                _ => {}
            }
            self.room.give_back(self.window.take_freed());
            self.answer_flushes();
        }
        Leave::Moved(Some(endpoint).filter(|endpoint| !endpoint.is_empty()))
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
            if !stream.send(batch) {
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
        tracing::debug!(queue = self.session.queue, epoch = self.session.epoch, "new producer epoch");
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

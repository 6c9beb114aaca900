//! The task of one publisher: only this task uses the stream. [`super::work`] has the work on an open stream.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    PublishError,
    batch::{AcceptedMessage, Batch, PublishCommand},
    send_buffer::SendBuffer,
    settings::PublisherSettings,
    stream::{ProducerSession, PublishStream},
    window::Window,
};
use crate::{error::Error, retry::Backoff, stream::StreamEnd};

/// Time limit for the server's end of a stream that was closed in order.
const END_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_COMMANDS_AT_ONCE: usize = 1024;

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) session: ProducerSession,
    pub(super) settings: PublisherSettings,
    pub(super) commands: mpsc::UnboundedReceiver<PublishCommand>,
    pub(super) received: Vec<PublishCommand>,
    pub(super) buffer: Arc<SendBuffer>,
    /// The batch that new messages are added to.
    pub(super) open_batch: Batch,
    pub(super) window: Window,
    flushes: VecDeque<Flush>,
    pub(super) backoff: Backoff,
    /// The end of a pause that the server asked for.
    pub(super) paused_until: Option<Instant>,
    /// The channel of commands is closed and empty.
    pub(super) commands_ended: bool,
}

#[derive(Debug)]
struct Flush {
    before: u64,
    done: oneshot::Sender<Result<(), PublishError>>,
}

/// Why the work on a stream has ended: for a reason of the stream, or of the publisher.
#[derive(Debug)]
pub(super) enum WorkEnd {
    Stream(StreamEnd),
    NewEpoch,
    Publisher(PublishError),
}

impl WorkEnd {
    pub(super) fn failed(error: Error) -> Self {
        Self::Stream(StreamEnd::Failed(error))
    }
}

impl Driver {
    pub(super) fn new(
        session: ProducerSession,
        settings: PublisherSettings,
        commands: mpsc::UnboundedReceiver<PublishCommand>,
        buffer: Arc<SendBuffer>,
    ) -> Self {
        Self {
            session,
            settings,
            commands,
            received: Vec::new(),
            buffer,
            open_batch: Batch::default(),
            window: Window::default(),
            flushes: VecDeque::new(),
            backoff: Backoff::new(settings.give_up_after),
            paused_until: None,
            commands_ended: false,
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

    /// Opens the next stream; returns `None` if nothing is left to do.
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
                match self.backoff.delay_after(&error) {
                    Some(delay) => sleep(delay).await,
                    None => return Err(PublishError::ended(error, self.backoff.failing_for())),
                }
            }
            match self.session.open(hint.take().as_deref()).await {
                Ok(stream) if self.window.opened(stream.opened.next_sequence) => {
                    self.paused_until = None;
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

    /// Waits until there is something to send, because until then no connection is needed. Returns `false` if nothing
    /// more will be sent.
    async fn wait_for_work(&mut self) -> bool {
        while self.window.is_empty() && self.open_batch.is_empty() {
            self.answer_flushes();
            if self.commands_ended {
                return false;
            }
            self.receive().await;
            // Failures before this have not delayed any message.
            self.backoff.reset();
        }
        true
    }

    async fn receive(&mut self) {
        Self::receive_from(&mut self.commands, &mut self.received).await;
        self.handle_commands();
    }

    pub(super) async fn receive_from(
        commands: &mut mpsc::UnboundedReceiver<PublishCommand>,
        received: &mut Vec<PublishCommand>,
    ) {
        commands.recv_many(received, MAX_COMMANDS_AT_ONCE).await;
    }

    pub(super) fn handle_commands(&mut self) {
        // `recv_many` returns without a command only when the channel is closed and empty.
        self.commands_ended = self.received.is_empty();
        let mut received = mem::take(&mut self.received);
        for command in received.drain(..) {
            match command {
                PublishCommand::Message(accepted) => self.fill(accepted),
                PublishCommand::Messages(all) => all.into_iter().for_each(|accepted| self.fill(accepted)),
                PublishCommand::Failed(error) => self.window.record_failure(Some(error)),
                PublishCommand::Send => self.close_batch(),
                PublishCommand::Flush(done) => self.flush(done),
                PublishCommand::Close(done) => {
                    self.buffer.close(PublishError::Closed);
                    self.commands.close();
                    self.flush(done);
                }
            }
        }
        self.received = received;
        self.answer_flushes();
    }

    fn fill(&mut self, accepted: AcceptedMessage) {
        if self.open_batch.bytes + accepted.bytes > self.settings.batch_bytes {
            self.close_batch();
        }
        self.open_batch.push(accepted);
        if self.open_batch.messages.len() >= self.settings.batch_messages {
            self.close_batch();
        }
    }

    pub(super) fn close_batch(&mut self) {
        if !self.open_batch.is_empty() {
            self.window.push(mem::take(&mut self.open_batch));
        }
    }

    fn flush(&mut self, done: oneshot::Sender<Result<(), PublishError>>) {
        self.close_batch();
        self.flushes.push_back(Flush { before: self.window.next_ordinal(), done });
    }

    pub(super) fn answer_flushes(&mut self) {
        while let Some(flush) = self.flushes.pop_front_if(|it| self.window.is_done_before(it.before)) {
            let _ = flush.done.send(self.window.pop_failure().map_or(Ok(()), Err));
        }
    }

    fn begin_epoch(&mut self) {
        self.session.epoch += 1;
        tracing::debug!(queue = self.session.target.queue, epoch = self.session.epoch, "new producer epoch");
        self.window.new_epoch();
    }

    fn stop(&mut self, error: &PublishError) {
        self.buffer.close(error.clone());
        self.commands.close();
        mem::take(&mut self.open_batch).fail(error);
        self.window.fail_all(error);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                PublishCommand::Message(accepted) => accepted.responder.send(Err(error.clone())),
                PublishCommand::Messages(all) => {
                    all.into_iter().for_each(|accepted| accepted.responder.send(Err(error.clone())));
                }
                PublishCommand::Send | PublishCommand::Failed(_) => {}
                PublishCommand::Flush(done) | PublishCommand::Close(done) => {
                    _ = done.send(Err(error.clone()))
                }
            }
        }
        for flush in self.flushes.drain(..) {
            let _ = flush.done.send(Err(error.clone()));
        }
    }
}

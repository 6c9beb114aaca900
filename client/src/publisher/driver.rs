//! The task of one publisher: it alone touches the stream. How a stream is worked is in [`super::work`].

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    PublishError,
    batch::{Accepted, Batch, Item},
    send_buffer::SendBuffer,
    settings::Settings,
    stream::{ProducerSession, PublishStream},
    window::Window,
};
use crate::{error::Error, retry::Patience, stream::StreamEnd};

/// How long a closed stream may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
const ITEMS_AT_ONCE: usize = 1024;

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) session: ProducerSession,
    pub(super) settings: Settings,
    pub(super) items: mpsc::UnboundedReceiver<Item>,
    pub(super) received: Vec<Item>,
    pub(super) buffer: Arc<SendBuffer>,
    /// The batch that is being gathered.
    pub(super) filling: Batch,
    pub(super) window: Window,
    flushes: VecDeque<Flush>,
    pub(super) patience: Patience,
    /// The server wants a pause until then.
    pub(super) hold_until: Option<Instant>,
    /// No more items will come.
    pub(super) ending: bool,
}

#[derive(Debug)]
struct Flush {
    before: u64,
    done: oneshot::Sender<Result<(), PublishError>>,
}

/// Why the work on a stream has ended, or that of the publisher.
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
        settings: Settings,
        items: mpsc::UnboundedReceiver<Item>,
        buffer: Arc<SendBuffer>,
    ) -> Self {
        Self {
            session,
            settings,
            items,
            received: Vec::new(),
            buffer,
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

    async fn receive(&mut self) {
        Self::receive_from(&mut self.items, &mut self.received).await;
        self.accept();
    }

    pub(super) async fn receive_from(items: &mut mpsc::UnboundedReceiver<Item>, received: &mut Vec<Item>) {
        items.recv_many(received, ITEMS_AT_ONCE).await;
    }

    pub(super) fn accept(&mut self) {
        // Nothing is received only when all handles are gone, or closed.
        self.ending = self.received.is_empty();
        let mut received = mem::take(&mut self.received);
        for item in received.drain(..) {
            match item {
                Item::Message(accepted) => self.fill(accepted),
                Item::Messages(all) => all.into_iter().for_each(|accepted| self.fill(accepted)),
                Item::Failed(error) => self.window.record_failure(Some(error)),
                Item::Send => self.close_batch(),
                Item::Flush(done) => self.flush(done),
                Item::Close(done) => {
                    self.buffer.close(PublishError::Closed);
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

    pub(super) fn close_batch(&mut self) {
        if !self.filling.is_empty() {
            self.window.push(mem::take(&mut self.filling));
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
        self.items.close();
        mem::take(&mut self.filling).fail(error);
        self.window.fail_all(error);
        while let Ok(item) = self.items.try_recv() {
            match item {
                Item::Message(accepted) => accepted.answer.send(Err(error.clone())),
                Item::Messages(all) => {
                    all.into_iter().for_each(|accepted| accepted.answer.send(Err(error.clone())));
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

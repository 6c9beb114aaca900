//! The task of one consumer: it alone touches the stream. How a stream is worked is in [`super::work`].

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};

use super::{
    ConsumeError, SettleError,
    command::Command,
    extensions::Extensions,
    inbox::Inbox,
    ledger::Ledger,
    settlements::Settlements,
    stream::{ConsumeStream, Session},
    work::Leave,
};
use crate::{
    error::{ConnectError, Error},
    retry::Patience,
};

/// How long closing may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
const COMMANDS_AT_ONCE: usize = 4096;

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) session: Session,
    pub(super) ledger: Ledger,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) received: Vec<Command>,
    /// No more commands will come.
    pub(super) commands_ended: bool,
    pub(super) inbox: Arc<Inbox>,
    pub(super) settlements: Settlements,
    pub(super) extensions: Extensions,
    pub(super) patience: Patience,
    pub(super) closing: Option<Closing>,
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) until: Instant,
    done: Vec<oneshot::Sender<Result<(), ConsumeError>>>,
}

impl Driver {
    pub(super) fn new(
        session: Session,
        ledger: Ledger,
        commands: mpsc::UnboundedReceiver<Command>,
        inbox: Arc<Inbox>,
        give_up_after: Duration,
    ) -> Self {
        Self {
            session,
            ledger,
            commands,
            received: Vec::new(),
            commands_ended: false,
            inbox,
            settlements: Settlements::default(),
            extensions: Extensions::default(),
            patience: Patience::new(give_up_after),
            closing: None,
        }
    }

    pub(super) async fn run(mut self, mut stream: ConsumeStream) {
        loop {
            let leave = self.work(&mut stream).await;
            // Dropped, not half-closed: that would release the leases.
            drop(stream);
            self.settlements.stream_ended();
            self.extensions.stream_ended();
            self.inbox.forget_idle();
            let (hint, failure) = match leave {
                Leave::Finished => return self.finish(&Ok(())),
                Leave::Moved(hint) => (hint, None),
                Leave::Failed(error) => (None, Some(error)),
            };
            match self.reopen(hint, failure).await {
                Ok(Some(next)) => stream = next,
                Ok(None) => return self.finish(&Ok(())),
                Err(error) => {
                    tracing::warn!(queue = self.session.queue, %error, "consumer ended");
                    return self.finish(&Err(error));
                }
            }
        }
    }

    /// `None`: there is nothing left to do.
    async fn reopen(
        &mut self,
        mut hint: Option<String>,
        mut failure: Option<Error>,
    ) -> Result<Option<ConsumeStream>, ConsumeError> {
        loop {
            let mut delay = Duration::ZERO;
            if let Some(error) = failure.take() {
                tracing::debug!(queue = self.session.queue, %error, "consume stream ended");
                let expired = self.closing.as_ref().is_some_and(|closing| closing.until <= Instant::now());
                let Some(wait) = self.patience.after(&error).filter(|_| !expired) else {
                    return Err(ConsumeError::ended(error, self.patience.waited()));
                };
                delay = wait;
            }
            let session = self.session.clone();
            let credit = self.ledger.open();
            let hint = hint.take();
            let attempt = async move {
                sleep(delay).await;
                ConsumeStream::open(&session, credit, hint.as_deref()).await
            };
            tokio::pin!(attempt);
            let opened = loop {
                if self.closing.is_some() && self.settlements.is_empty() && self.ledger.is_empty() {
                    return Ok(None);
                }
                tokio::select! {
                    opened = &mut attempt => break opened,
                    () = receive(&mut self.commands, &mut self.received), if !self.commands_ended => self.accept(),
                    () = until(self.closing.as_ref()) => {
                        break Err(Error::Connect(ConnectError::TimedOut(CLOSE_TIMEOUT)));
                    }
                }
            };
            match opened {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) => failure = Some(error),
            }
        }
    }

    /// Takes what was received.
    pub(super) fn accept(&mut self) {
        // Nothing is received only when the consumer is closed and the channel is empty.
        self.commands_ended = self.received.is_empty();
        let mut received = mem::take(&mut self.received);
        for command in received.drain(..) {
            match command {
                Command::Settle(settle) => {
                    self.ledger.settle(&settle.settlement.token);
                    self.settlements.push(settle);
                }
                Command::Extend(extend) => self.extensions.push(extend),
                Command::Close(done) => self.close(done),
            }
        }
        self.received = received;
    }

    fn close(&mut self, done: oneshot::Sender<Result<(), ConsumeError>>) {
        self.commands.close();
        self.inbox.end(Ok(()));
        self.patience.limit(CLOSE_TIMEOUT);
        let until = Instant::now() + CLOSE_TIMEOUT;
        self.closing.get_or_insert_with(|| Closing { until, done: Vec::new() }).done.push(done);
    }

    /// Deliveries whose lease is lost are not given to the application, if it does not have them yet.
    pub(super) fn withdraw(&mut self, lost: &HashSet<Bytes>) {
        for token in self.inbox.remove(lost) {
            self.ledger.remove(&token);
        }
    }

    fn finish(mut self, end: &Result<(), ConsumeError>) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.received.push(command);
        }
        self.accept();
        let error = match end {
            Ok(()) => SettleError::Closed,
            Err(error) => SettleError::Unconfirmed(error.clone()),
        };
        self.settlements.fail_all(&error);
        self.extensions.fail_all(&error);
        self.inbox.end(end.clone());
        for done in self.closing.into_iter().flat_map(|closing| closing.done) {
            let _ = done.send(end.clone());
        }
    }
}

pub(super) async fn receive(commands: &mut mpsc::UnboundedReceiver<Command>, received: &mut Vec<Command>) {
    commands.recv_many(received, COMMANDS_AT_ONCE).await;
}

async fn until(closing: Option<&Closing>) {
    match closing {
        Some(closing) => sleep_until(closing.until).await,
        None => std::future::pending().await,
    }
}

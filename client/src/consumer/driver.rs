//! The task of one consumer: only this task uses the stream. [`super::work`] has the work on an open stream.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use posthouse_proto::v1;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{
    ConsumeError, SettleError,
    command::{ConsumeCommand, Settle},
    extensions::Extensions,
    inbox::Inbox,
    ledger::{Lease, Ledger},
    lost_leases::LostLeases,
    settlements::Settlements,
    stream::{ConsumeStream, ConsumerSession},
};
use crate::{answer_group::Responder, error::Error, retry::Backoff, stream::StreamEnd, time};

/// Time limit for closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_COMMANDS_AT_ONCE: usize = 4096;

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) session: ConsumerSession,
    pub(super) ledger: Ledger,
    pub(super) commands: mpsc::UnboundedReceiver<ConsumeCommand>,
    pub(super) received: Vec<ConsumeCommand>,
    /// The channel of commands is closed and empty.
    pub(super) commands_ended: bool,
    pub(super) inbox: Arc<Inbox>,
    pub(super) lost: Arc<LostLeases>,
    /// How long the lease of a delivery is extended after the application has received it.
    pub(super) extend_for: Duration,
    pub(super) settlements: Settlements,
    pub(super) extensions: Extensions,
    pub(super) backoff: Backoff,
    /// The consumer accepts no more deliveries.
    pub(super) stopping: bool,
    pub(super) closing: Option<Closing>,
}

/// Time limits that the application has set.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumerLimits {
    pub(super) give_up_after: Duration,
    pub(super) extend_for: Duration,
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) until: Instant,
    done: Vec<oneshot::Sender<Result<(), ConsumeError>>>,
}

impl Driver {
    pub(super) fn new(
        session: ConsumerSession,
        ledger: Ledger,
        commands: mpsc::UnboundedReceiver<ConsumeCommand>,
        inbox: Arc<Inbox>,
        lost: Arc<LostLeases>,
        limits: ConsumerLimits,
    ) -> Self {
        Self {
            session,
            ledger,
            commands,
            received: Vec::new(),
            commands_ended: false,
            inbox,
            lost,
            extend_for: limits.extend_for,
            settlements: Settlements::default(),
            extensions: Extensions::default(),
            backoff: Backoff::new(limits.give_up_after),
            stopping: false,
            closing: None,
        }
    }

    pub(super) async fn run(mut self, mut stream: ConsumeStream) {
        loop {
            let end = self.work(&mut stream).await;
            // Dropped without a half-close, because a half-close would release the leases.
            drop(stream);
            self.settlements.stream_ended();
            self.extensions.stream_ended();
            self.inbox.drop_idle();
            let (hint, failure) = match end {
                StreamEnd::Finished => return self.finish(&Ok(())),
                StreamEnd::Moved(hint) => (hint, None),
                StreamEnd::Failed(error) => (None, Some(error)),
            };
            match self.reopen(hint, failure).await {
                Ok(Some(next)) => stream = next,
                Ok(None) => return self.finish(&Ok(())),
                Err(error) => {
                    tracing::warn!(queue = self.session.target.queue, %error, "consumer ended");
                    return self.finish(&Err(error));
                }
            }
        }
    }

    /// Opens the next stream; returns `None` if nothing is left to do.
    async fn reopen(
        &mut self,
        mut hint: Option<String>,
        mut failure: Option<Error>,
    ) -> Result<Option<ConsumeStream>, ConsumeError> {
        loop {
            let mut delay = Duration::ZERO;
            if let Some(error) = failure.take() {
                tracing::debug!(queue = self.session.target.queue, %error, "consume stream ended");
                let expired = self.closing.as_ref().is_some_and(|closing| closing.until <= Instant::now());
                let Some(wait) = self.backoff.delay_after(&error).filter(|_| !expired) else {
                    return Err(ConsumeError::ended(error, self.backoff.failing_for()));
                };
                delay = wait;
            }
            let session = self.session.clone();
            let whole = self.ledger.begin_stream();
            let credit = if self.stopping { v1::Credit::default() } else { whole };
            let hint = hint.take();
            let attempt = async move {
                sleep(delay).await;
                session.open(credit, hint.as_deref()).await
            };
            tokio::pin!(attempt);
            let opened = loop {
                if self.closing.is_some() && self.settlements.is_empty() && self.ledger.is_empty() {
                    return Ok(None);
                }
                let expiry = self.expire();
                tokio::select! {
                    opened = &mut attempt => break opened,
                    () = receive(&mut self.commands, &mut self.received), if !self.commands_ended => {
                        self.handle_commands();
                    }
                    () = time::wait_until(expiry) => {}
                    () = time::wait_until(self.closing.as_ref().map(|closing| closing.until)) => {
                        break Err(Error::timed_out(CLOSE_TIMEOUT));
                    }
                }
            };
            match opened {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) => failure = Some(error),
            }
        }
    }

    /// Carries out the received commands.
    pub(super) fn handle_commands(&mut self) {
        // `recv_many` returns without a command only when the channel is closed and empty.
        self.commands_ended = self.received.is_empty();
        let mut received = mem::take(&mut self.received);
        for command in received.drain(..) {
            match command {
                ConsumeCommand::Settle(settle) => self.settle(settle),
                ConsumeCommand::SettleAll(settles) => {
                    settles.into_iter().for_each(|settle| self.settle(settle))
                }
                ConsumeCommand::Extend(extend) => self.extensions.push(extend),
                ConsumeCommand::Stop => self.stop(),
                ConsumeCommand::Close(done) => self.close(done),
            }
        }
        self.received = received;
    }

    fn settle(&mut self, settle: Settle) {
        if self.ledger.settle(&settle.lease) {
            self.lost.remove(&settle.lease.token);
        }
        self.settlements.push(settle);
    }

    /// Releases the deliveries that the application has not received.
    fn stop(&mut self) {
        self.stopping = true;
        let waiting = self.inbox.stop();
        self.release(waiting);
    }

    pub(super) fn release(&mut self, leases: Vec<Lease>) {
        for lease in leases {
            let (action, responder) = (v1::SettleAction::Release, Responder::Discard);
            self.settle(Settle { lease, action, delay: None, responder });
        }
    }

    fn close(&mut self, done: oneshot::Sender<Result<(), ConsumeError>>) {
        self.commands.close();
        self.inbox.end(Ok(()));
        self.backoff.limit_to(CLOSE_TIMEOUT);
        let until = Instant::now() + CLOSE_TIMEOUT;
        self.closing.get_or_insert_with(|| Closing { until, done: Vec::new() }).done.push(done);
    }

    /// Removes deliveries with a lost lease from the inbox, and marks those as lost that the application has.
    pub(super) fn withdraw(&mut self, lost: &HashSet<Lease>) {
        for lease in self.inbox.remove(lost) {
            self.lost.remove(&lease.token);
            self.ledger.remove(&lease);
        }
        let lost_tokens =
            lost.iter().filter(|lease| self.ledger.lose(lease)).map(|lease| lease.token.clone());
        let lost_tokens: Vec<_> = lost_tokens.collect();
        if !lost_tokens.is_empty() {
            self.lost.add(lost_tokens);
        }
    }

    /// Marks leases as lost that have ended by this program's clock, and returns when the next one ends.
    pub(super) fn expire(&mut self) -> Option<Instant> {
        let (expired, next) = self.ledger.expire(Instant::now());
        if !expired.is_empty() {
            self.lost.add(expired);
        }
        next
    }

    fn finish(mut self, end: &Result<(), ConsumeError>) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.received.push(command);
        }
        self.handle_commands();
        let error = match end {
            Ok(()) => SettleError::Closed,
            Err(error) => SettleError::Unconfirmed(error.clone()),
        };
        self.settlements.fail_all(&error);
        self.extensions.fail_all(&error);
        self.inbox.end(end.clone());
        self.lost.end();
        for done in self.closing.into_iter().flat_map(|closing| closing.done) {
            let _ = done.send(end.clone());
        }
    }
}

pub(super) async fn receive(
    commands: &mut mpsc::UnboundedReceiver<ConsumeCommand>,
    received: &mut Vec<ConsumeCommand>,
) {
    commands.recv_many(received, MAX_COMMANDS_AT_ONCE).await;
}

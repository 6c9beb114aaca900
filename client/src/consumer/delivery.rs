use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use posthouse_proto::v1::{self, SettleAction};
use tokio::{sync::oneshot, time::Instant};
use tracing::Span;

use super::{
    DeadLetterOrigin, SettleError, Settlement, Settling,
    command::{ConsumeCommand, ConsumerShared, Extend, Settle, SettleOutcome},
    ledger::Lease,
};
use crate::{
    answer_group::Responder,
    time,
    trace::{self, TraceContext},
};

/// A message that is leased to this consumer, and the right to settle it. Settle it with one of [`Delivery::ack`],
/// [`Delivery::nack`], [`Delivery::release`] and [`Delivery::dead_letter`]; dropping it releases it.
///
/// The settlement is handed over at once, when the method is called; what is returned resolves when the server has it
/// on disk, and may be dropped. Settlements that are handed over meanwhile share frames and syncs: settle first and
/// await later, or not at all.
///
/// While it is held its lease is extended; see [`ConsumerBuilder::extend_leases_for`](super::ConsumerBuilder). If the
/// lease is lost all the same, because the server was away for too long or the message was purged,
/// [`Delivery::lease_lost`] tells, and another consumer may have the message: what is not done yet is better left. The error
/// of its settlement tells which it was: [`ErrorReason::MessagePurged`](crate::ErrorReason) does not come again, to anybody.
#[must_use = "dropping a delivery releases it, to be delivered again"]
pub struct Delivery {
    lease: Lease,
    message: v1::Message,
    attempt: u32,
    lease_deadline: SystemTime,
    lease_end: Instant,
    shared: Arc<ConsumerShared>,
    settled: AtomicBool,
}

impl Delivery {
    pub(super) fn new(
        delivery: v1::Delivery,
        slot: u32,
        lease_end: Instant,
        shared: Arc<ConsumerShared>,
    ) -> Self {
        Self {
            lease: Lease { token: delivery.token, slot },
            message: delivery.message.unwrap_or_default(),
            attempt: delivery.attempt,
            lease_deadline: time::or_epoch(delivery.lease_deadline),
            lease_end,
            shared,
            settled: AtomicBool::new(false),
        }
    }

    /// The bytes that were published.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Opaque, stable for the life of the message.
    pub fn message_id(&self) -> &str {
        &self.message.id
    }

    /// The message's position in its queue, from 1.
    pub fn sequence(&self) -> u64 {
        self.message.sequence
    }

    /// What the producer attached.
    pub fn attributes(&self) -> &HashMap<String, String> {
        &self.message.attributes
    }

    /// When the server accepted the message.
    pub fn publish_time(&self) -> SystemTime {
        time::or_epoch(self.message.publish_time)
    }

    /// 1 for the first; counts the deliveries that failed, plus this one.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the lease ends by the server's wall clock, unless it is settled, as it was when the message was delivered or
    /// [`Delivery::extend`] was last called. Extensions that happen by themselves are not told here. To be shown: this program's
    /// clock may be another; see [`Delivery::lease_time_left`].
    pub fn lease_deadline(&self) -> SystemTime {
        self.lease_deadline
    }

    /// How much longer the lease lasts, whatever any wall clock says; zero when it is over. As of what
    /// [`Delivery::lease_deadline`] is.
    pub fn lease_time_left(&self) -> Duration {
        self.lease_end.saturating_duration_since(Instant::now())
    }

    /// Where the message came from, if this is a dead-letter queue.
    pub fn dead_letter_origin(&self) -> Option<DeadLetterOrigin> {
        self.message.dead_letter.as_deref().cloned().map(DeadLetterOrigin::from)
    }

    /// The full resource name of the queue.
    pub fn queue(&self) -> &str {
        &self.shared.queue
    }

    /// The trace that the producer published it in.
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::from_attributes(&self.message.attributes)
    }

    /// A new span for the work on this delivery, which continues the producer's trace. It holds names and numbers, not
    /// the payload. [`WorkerPool`](crate::WorkerPool) runs its handlers in such a span.
    ///
    /// ```no_run
    /// # async fn work(delivery: &posthouse_client::Delivery) {}
    /// # async fn example(delivery: posthouse_client::Delivery) {
    /// use tracing::Instrument as _;
    ///
    /// work(&delivery).instrument(delivery.span()).await;
    /// # }
    /// ```
    pub fn span(&self) -> Span {
        let span = tracing::info_span!(
            "process",
            otel.kind = "consumer",
            messaging.system = "posthouse",
            messaging.operation.type = "process",
            messaging.destination.name = self.queue(),
            messaging.message.id = self.message_id(),
            messaging.message.body.size = self.payload().len(),
            posthouse.attempt = self.attempt,
            otel.status_code = tracing::field::Empty,
        );
        if !span.is_disabled()
            && let Some(producer) = self.trace_context()
        {
            trace::set_parent(&span, &producer);
        }
        span
    }

    /// Whether the lease is still good, as far as this client knows. `false`: another consumer may have the message.
    pub fn is_live(&self) -> bool {
        !self.shared.lost.contains(&self.lease.token)
    }

    /// Waits until the lease is lost, which it normally never is. Wait for it beside the work:
    ///
    /// ```no_run
    /// # async fn work(delivery: &posthouse_client::Delivery) {}
    /// # async fn example(delivery: posthouse_client::Delivery) {
    /// tokio::select! {
    ///     () = work(&delivery) => drop(delivery.ack()),
    ///     () = delivery.lease_lost() => println!("another consumer has it now"),
    /// }
    /// # }
    /// ```
    pub async fn lease_lost(&self) {
        self.shared.lost.wait(&self.lease.token).await;
    }

    /// Done with it: it is never delivered again to this subscription.
    pub fn ack(self) -> Settling {
        self.settle(Settlement::Ack)
    }

    /// Failed: deliver it again, not before `delay` (0 to 30 days) has passed. It counts as an attempt.
    pub fn nack(self, delay: Duration) -> Settling {
        self.settle(Settlement::Nack { delay })
    }

    /// Not tried: deliver it again. It does not count as an attempt.
    pub fn release(self) -> Settling {
        self.settle(Settlement::Release)
    }

    /// Hopeless: to the subscription's dead letters.
    pub fn dead_letter(self) -> Settling {
        self.settle(Settlement::DeadLetter)
    }

    /// One of these, chosen by a value. See [`Consumer::settle_all`](super::Consumer::settle_all) for many.
    pub fn settle(self, settlement: Settlement) -> Settling {
        self.settle_shared(settlement)
    }

    /// Moves the lease's deadline to `duration` (1 s to 12 h) from now, if that is later, and returns it. For work that
    /// takes longer than leases are extended by themselves.
    pub async fn extend(&mut self, duration: Duration) -> Result<SystemTime, SettleError> {
        let (done, answer) = oneshot::channel();
        let extend = Extend { lease: self.lease.clone(), duration, done: Some(done) };
        self.shared.commands.send(ConsumeCommand::Extend(extend)).map_err(|_| SettleError::Closed)?;
        let extended = answer.await.unwrap_or(Err(SettleError::Closed))?;
        (self.lease_deadline, self.lease_end) = (extended.deadline, extended.until);
        Ok(self.lease_deadline)
    }

    /// Settles it while others may still look at it. The first settlement counts.
    pub(crate) fn settle_shared(&self, settlement: Settlement) -> Settling {
        let (done, answer) = oneshot::channel();
        self.hand_over(settlement, Responder::One(done));
        Settling(answer)
    }

    /// What is to be handed over, if it is of this consumer; otherwise it is handed over to its own.
    pub(super) fn settle_with(
        self,
        settlement: Settlement,
        responder: Responder<SettleOutcome>,
        shared: &Arc<ConsumerShared>,
    ) -> Option<Settle> {
        if Arc::ptr_eq(&self.shared, shared) {
            return self.command(settlement, responder);
        }
        self.hand_over(settlement, responder);
        None
    }

    fn hand_over(&self, settlement: Settlement, responder: Responder<SettleOutcome>) {
        if let Some(settle) = self.command(settlement, responder) {
            // If the consumer is gone, who waits for it goes with the command and is told.
            let _ = self.shared.commands.send(ConsumeCommand::Settle(settle));
        }
    }

    /// `None`: it was settled before.
    fn command(&self, settlement: Settlement, responder: Responder<SettleOutcome>) -> Option<Settle> {
        if self.settled.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (action, delay) = match settlement {
            Settlement::Ack => (SettleAction::Ack, None),
            Settlement::Nack { delay } => (SettleAction::Nack, Some(time::wire(delay))),
            Settlement::Release => (SettleAction::Release, None),
            Settlement::DeadLetter => (SettleAction::DeadLetter, None),
        };
        Some(Settle { lease: self.lease.clone(), action, delay, responder })
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !*self.settled.get_mut() {
            self.hand_over(Settlement::Release, Responder::Discard);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("queue", &self.queue())
            .field("message_id", &self.message_id())
            .field("sequence", &self.sequence())
            .field("attempt", &self.attempt)
            .field("payload_bytes", &self.payload().len())
            .field("attributes", &self.attributes().len())
            .finish_non_exhaustive()
    }
}

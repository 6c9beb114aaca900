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
/// Each of these methods queues the settlement at once. The future that it returns resolves when the settlement is on
/// the server's disk; it may be dropped. Queued settlements share frames and syncs: settle first and await later, or
/// not at all.
///
/// The consumer extends the lease while the application has the delivery; see
/// [`ConsumerBuilder::extend_leases_for`](super::ConsumerBuilder). A lease can still be lost, when the server was
/// unreachable for too long or the queue was purged. Then [`Delivery::lease_lost`] resolves, and the work should stop,
/// because another consumer may have the message. With [`ErrorReason::MessagePurged`](crate::ErrorReason) as the error
/// of the settlement, the message is never delivered again.
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

    /// The published bytes.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// The id of the message: opaque, and the same for every delivery of it.
    pub fn message_id(&self) -> &str {
        &self.message.id
    }

    /// The position of the message in its queue, from 1.
    pub fn sequence(&self) -> u64 {
        self.message.sequence
    }

    /// The attributes that the producer attached.
    pub fn attributes(&self) -> &HashMap<String, String> {
        &self.message.attributes
    }

    /// When the server accepted the message.
    pub fn publish_time(&self) -> SystemTime {
        time::or_epoch(self.message.publish_time)
    }

    /// The number of this attempt: 1 for the first. Failed deliveries count, released ones do not.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The end of the lease by the server's wall clock, as of the delivery or the last call of [`Delivery::extend`];
    /// extensions by the consumer itself are not included. Use it only for display, because this program's clock may
    /// differ; decide by [`Delivery::lease_time_left`].
    pub fn lease_deadline(&self) -> SystemTime {
        self.lease_deadline
    }

    /// The time until [`Delivery::lease_deadline`], by this program's monotonic clock; zero after it.
    pub fn lease_time_left(&self) -> Duration {
        self.lease_end.saturating_duration_since(Instant::now())
    }

    /// The source of a dead letter; `None` if the message is not a dead letter.
    pub fn dead_letter_origin(&self) -> Option<DeadLetterOrigin> {
        self.message.dead_letter.as_deref().cloned().map(DeadLetterOrigin::from)
    }

    /// The full resource name of the queue.
    pub fn queue(&self) -> &str {
        &self.shared.queue
    }

    /// The trace context that the producer attached; `None` without a valid one.
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::from_attributes(&self.message.attributes)
    }

    /// Creates a span for the work on this delivery, as a child of the producer's span. It records names and sizes,
    /// never the payload. [`WorkerPool`](crate::WorkerPool) runs its handlers in such a span.
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

    /// Whether the lease is still valid, as far as this client knows. If not, another consumer may have the message.
    pub fn is_live(&self) -> bool {
        !self.shared.lost.contains(&self.lease.token)
    }

    /// Waits until the lease is lost; normally it never resolves. Await it beside the work:
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

    /// Settles the message as done: this subscription never delivers it again.
    pub fn ack(self) -> Settling {
        self.settle(Settlement::Ack)
    }

    /// Settles the delivery as failed. The message is delivered again after `delay` (0 to 30 days), and this attempt
    /// counts.
    pub fn nack(self, delay: Duration) -> Settling {
        self.settle(Settlement::Nack { delay })
    }

    /// Returns the message, to be delivered again at once; this attempt does not count.
    pub fn release(self) -> Settling {
        self.settle(Settlement::Release)
    }

    /// Moves the message to the dead letters of the subscription.
    pub fn dead_letter(self) -> Settling {
        self.settle(Settlement::DeadLetter)
    }

    /// Settles the delivery as `settlement` says. See [`Consumer::settle_all`](super::Consumer::settle_all) for many.
    pub fn settle(self, settlement: Settlement) -> Settling {
        self.settle_shared(settlement)
    }

    /// Moves the deadline of the lease to `duration` (1 s to 12 h) from now, if that is later, and returns the deadline
    /// by the server's wall clock. Fails if the lease is lost or the consumer has ended.
    pub async fn extend(&mut self, duration: Duration) -> Result<SystemTime, SettleError> {
        let (done, answer) = oneshot::channel();
        let extend = Extend { lease: self.lease.clone(), duration, done: Some(done) };
        self.shared.commands.send(ConsumeCommand::Extend(extend)).map_err(|_| SettleError::Closed)?;
        let extended = answer.await.unwrap_or(Err(SettleError::Closed))?;
        (self.lease_deadline, self.lease_end) = (extended.deadline, extended.until);
        Ok(self.lease_deadline)
    }

    /// Settles a delivery that others may still read. Only the first settlement counts.
    pub(crate) fn settle_shared(&self, settlement: Settlement) -> Settling {
        let (done, answer) = oneshot::channel();
        self.hand_over(settlement, Responder::One(done));
        Settling(answer)
    }

    /// Returns the command that settles this delivery, if it belongs to the consumer of `shared`. Otherwise sends it to
    /// the delivery's own consumer.
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
            // If the consumer has ended, dropping the command drops its responder, which the receiver sees.
            let _ = self.shared.commands.send(ConsumeCommand::Settle(settle));
        }
    }

    /// Returns `None` if the delivery was settled before.
    fn command(&self, settlement: Settlement, responder: Responder<SettleOutcome>) -> Option<Settle> {
        if self.settled.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (action, delay) = match settlement {
            Settlement::Ack => (SettleAction::Ack, None),
            Settlement::Nack { delay } => (SettleAction::Nack, Some(time::to_wire(delay))),
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

//! Checks one batch of messages, proposes it to its shard, and waits for the outcome.

use std::sync::Arc;

use bytes::Bytes;
use posthouse_engine::{
    ids::LANES,
    outcome::{Outcome, PublishError, Published},
    schema::{Command, Producer, Publish},
};
use posthouse_proto::v1::{ErrorReason, NewMessage, ProducerSession};
use tokio::sync::oneshot;

use crate::{
    account::RetainedRequests,
    limits,
    observe::RecordSlot,
    rpc::{
        context::{self, Context},
        publish::{refusals::MessageRefusals, target::PublishTarget, telemetry},
        wire::{convert, status::ApiError},
    },
    shard::ShardError,
};

/// A batch that was proposed, and is not decided yet.
pub(crate) struct Proposed {
    /// Bytes of all its messages.
    bytes: usize,
    count: usize,
    /// The slot for its access record, where publishes are recorded.
    slot: Option<RecordSlot>,
    outcome: oneshot::Receiver<Result<Outcome, ShardError>>,
    refusals: MessageRefusals,
}

/// The outcome of each message, and the errors of those that were refused, in order.
pub(crate) type DecidedBatch = (Published, Vec<Arc<ApiError>>);

impl Proposed {
    /// Waits until the batch is synced and applied.
    pub(crate) async fn decided(
        mut self,
        context: &Context,
        target: &PublishTarget,
    ) -> Result<DecidedBatch, ApiError> {
        let (bytes, count, slot) = (self.bytes, self.count, self.slot.take());
        let decided = self.outcome().await;
        match &decided {
            Ok((published, errors)) => {
                telemetry::published(&context.observer, target, published, errors, bytes, slot);
            }
            Err(error) => telemetry::not_published(&context.observer, target, error, count, slot),
        }
        decided
    }

    async fn outcome(self) -> Result<DecidedBatch, ApiError> {
        match self.outcome.await.unwrap_or(Err(ShardError::Stopping))? {
            Outcome::Publish(Ok(published)) => {
                let errors = self.refusals.of_results(&published.results);
                Ok((published, errors))
            }
            Outcome::Publish(Err(PublishError::AtomicRefused)) => Err(self.refusals.of_batch()),
            Outcome::Publish(Err(why)) => Err(why.into()),
            _ => Err(ApiError::fault("a publish was answered by another outcome")),
        }
    }
}

/// Checks one batch and proposes it. It waits for the fair gate, not for the disk. A stream that has `waited` in vain
/// for a record slot for the batch before does not wait for one again.
pub(crate) async fn propose(
    context: &Context,
    target: &PublishTarget,
    messages: Vec<NewMessage>,
    producer: Option<ProducerSession>,
    atomic: bool,
    waited: bool,
) -> Result<Proposed, ApiError> {
    target.permit.check_again(context::now())?;
    if context.drain.is_cancelled() {
        return Err(ApiError::draining());
    }
    let (bytes, count) = (batch_bytes(&messages)?, messages.len());
    let stored = u64::try_from(bytes).unwrap_or(u64::MAX);
    if !context.disk.accepts(&context.store, stored) {
        return Err(ShardError::DiskFull.into());
    }
    target.quota.check_stored(stored)?;
    let (mut entries, mut refusals) = (Vec::with_capacity(messages.len()), MessageRefusals::default());
    for (index, message) in messages.into_iter().enumerate() {
        match convert::publish_entry(message, target.max_message_bytes()) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                refusals.add(index, error);
                // A batch of a producer session may be a retry of one that was stored under a higher limit.
                if atomic && producer.is_none() {
                    return Err(refusals.of_batch());
                }
                entries.push(convert::refused_entry());
            }
        }
    }
    let is_refused = atomic && !refusals.is_empty();
    if is_refused {
        // No message will be stored, so none needs to be in the log.
        entries.fill_with(convert::refused_entry);
    }
    let accepted = entries.iter().map(|entry| entry.content.len()).sum::<usize>();
    // A payload is a slice of its request, and keeps the whole request in memory. It is copied, unless the request is
    // large and consists mostly of payloads.
    if accepted < limits::SLICED_REQUEST_BYTES || accepted < bytes / 2 || target.retained.are_too_many() {
        entries.iter_mut().for_each(|entry| entry.content = Bytes::copy_from_slice(&entry.content));
    }
    let (at, [lane]) = (target.queue.at, LANES);
    let command = Command::Publish(Publish {
        department: at.department.0,
        queue: at.queue.0,
        lane: u32::from(lane.0),
        producer: producer.map(|session| engine_producer(target, session)).transpose()?,
        entries,
        atomic,
    });
    let slot = context.publish_slot(waited).await?;
    let (stored, department) = (if is_refused { 0 } else { bytes }, target.queue.department);
    let work = 1_024 + stored + count * limits::PUBLISH_MESSAGE_BYTES;
    let pass = context.fair_gate.enter(department.tenant, target.connection, work).await;
    let outcome = context.shards.publish(department.origin(), command, pass);
    Ok(Proposed { bytes, count, slot, outcome, refusals })
}

/// Moves the payloads of a unary call into one counted buffer: they are slices of a buffer of the gRPC library, whose
/// bytes are not counted.
pub(super) fn gather(messages: &mut [NewMessage], retained: &RetainedRequests) {
    let bytes = messages.iter().map(|message| message.payload.len()).sum();
    if bytes < limits::SLICED_REQUEST_BYTES {
        return;
    }
    let mut all = Vec::with_capacity(bytes);
    messages.iter().for_each(|message| all.extend_from_slice(&message.payload));
    let mut all = retained.counted(all.into());
    for message in messages {
        message.payload = all.split_to(message.payload.len());
    }
}

fn batch_bytes(messages: &[NewMessage]) -> Result<usize, ApiError> {
    let wrong = |text: String| ApiError::field(ErrorReason::BatchInvalid, "messages", text);
    if messages.is_empty() {
        return Err(wrong("the batch is empty; send at least one message".to_owned()));
    }
    if messages.len() > limits::MAX_PUBLISH_MESSAGES {
        let max = limits::MAX_PUBLISH_MESSAGES;
        let text = format!("the batch has {} messages; at most {max}: send several batches", messages.len());
        return Err(wrong(text).with_limit(max));
    }
    let size =
        |m: &NewMessage| m.payload.len() + m.attributes.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    let bytes = messages.iter().map(size).sum();
    if bytes > limits::MAX_PUBLISH_BYTES {
        let max = limits::MAX_PUBLISH_BYTES;
        let text = format!("the batch has {bytes} bytes; at most {max}: send several batches");
        return Err(wrong(text).with_limit(max));
    }
    Ok(bytes)
}

fn engine_producer(target: &PublishTarget, session: ProducerSession) -> Result<Producer, ApiError> {
    check_producer(&session.producer_id, session.epoch)?;
    Ok(Producer {
        producer_id: session.producer_id,
        epoch: session.epoch,
        first_sequence: session.first_sequence,
        tenant: target.queue.department.tenant.0,
        subject: target.permit.principal().subject.clone(),
    })
}

/// Checks that a producer's id has 16 bytes, and that its epoch is at least 1.
pub(crate) fn check_producer(producer_id: &[u8], epoch: u64) -> Result<(), ApiError> {
    if producer_id.len() != limits::SESSION_ID_BYTES {
        return Err(ApiError::session_id("producer.producer_id", producer_id));
    }
    if epoch == 0 {
        let text = "a producer's epoch counts from 1";
        return Err(ApiError::field(ErrorReason::RequestInvalid, "producer.epoch", text));
    }
    Ok(())
}

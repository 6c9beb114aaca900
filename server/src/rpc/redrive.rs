//! Dead letters get another chance. What moves is picked here, and judged again by the machine.

use std::collections::BTreeSet;

use posthouse_engine::{
    halt::Halt,
    ids::{QueueId, QueueRef, SubscriptionRef},
    outcome::{Outcome, RedriveOutcome},
    schema::{Command, RedriveDeadLetters},
    standing::{MessageState, MessageStatus},
};
use posthouse_proto::v1::{ErrorReason, RedriveDeadLettersRequest, RedriveDeadLettersResponse};

use super::{
    context::{Context, FoundQueue, queue_name},
    convert,
    messages::{default_subscription, look},
    status::ApiError,
};
use crate::{
    limits,
    names::{QueueName, QueueResource},
    policy::{Admission, methods},
    shard::ShardError,
};

/// What is to be redriven.
#[derive(Default)]
struct Picked {
    sequences: Vec<u64>,
    /// Names of the queues they came from.
    origins: BTreeSet<String>,
    skipped: u64,
    more: bool,
}

/// Redrives what the request names, or the oldest.
pub(super) async fn redrive(
    context: &Context,
    admission: &Admission<methods::RedriveDeadLetters>,
    request: RedriveDeadLettersRequest,
) -> Result<RedriveDeadLettersResponse, ApiError> {
    let RedriveDeadLettersRequest { queue, message_ids, max_messages, target_queue } = request;
    let name = queue_name("queue", &queue)?;
    admission.permit::<methods::Redriving>(&default_subscription(&name))?;
    let target = target(admission, &name, &target_queue)?;
    let most = most(max_messages, &message_ids)?;
    let found = context.queue(&name).await?;
    let id = context.subscription(&found, &name, "").await?;
    let target_id = match &target {
        Some(target) => context.queue(target).await?.at.queue.0,
        None => 0,
    };
    let picked = if message_ids.is_empty() {
        pick_oldest(context, &found, id, most, target.is_some()).await?
    } else {
        pick(context, &found, id, &message_ids, most).await?
    };
    if target.is_none() {
        for origin in &picked.origins {
            let origin = name.department_resource().queue(QueueName::parse(origin)?);
            admission.permit::<methods::RedrivingBack>(&origin)?;
        }
    }
    if context.drain.is_cancelled() {
        return Err(ApiError::draining());
    }
    if context.disk.is_full() {
        return Err(ShardError::DiskFull.into());
    }
    propose(context, &found, id, picked, target_id).await
}

/// The queue they all go to, if the request names one.
fn target(
    admission: &Admission<methods::RedriveDeadLetters>,
    name: &QueueResource,
    target: &str,
) -> Result<Option<QueueResource>, ApiError> {
    if target.is_empty() {
        return Ok(None);
    }
    let target = queue_name("target_queue", target)?;
    if target.department_resource() != name.department_resource() {
        let text = "dead letters move within their department; name a queue of it";
        return Err(ApiError::field(ErrorReason::RequestInvalid, "target_queue", text));
    }
    admission.permit::<methods::RedrivingTo>(&target)?;
    Ok(Some(target))
}

fn most(max_messages: u32, message_ids: &[String]) -> Result<usize, ApiError> {
    let limit = limits::MAX_REDRIVE;
    if message_ids.len() > limit {
        let text = format!("there are {} ids; at most {limit} in one call", message_ids.len());
        return Err(ApiError::field(ErrorReason::RequestInvalid, "message_ids", text));
    }
    match usize::try_from(max_messages) {
        Ok(0) => Ok(limit),
        Ok(most) if most <= limit => Ok(most),
        _ => {
            let text = format!("{max_messages} are too many; at most {limit} in one call");
            Err(ApiError::field(ErrorReason::RequestInvalid, "max_messages", text))
        }
    }
}

/// The oldest that can go: what cannot must not stand in the way of the rest, call after call.
async fn pick_oldest(
    context: &Context,
    found: &FoundQueue,
    id: SubscriptionRef,
    most: usize,
    has_target: bool,
) -> Result<Picked, ApiError> {
    let mut picked = Picked::default();
    let mut next = Some(0);
    for _ in 0..limits::DEAD_LETTER_LOOKS {
        let Some(from) = next.filter(|_| picked.sequences.len() < most) else { break };
        let page = look(context, found, id, from, most - picked.sequences.len()).await?;
        next = page.next;
        let gone = if has_target { BTreeSet::new() } else { gone(context, found, &page.found).await? };
        for status in page.found {
            match &status.origin {
                Some(origin) if gone.contains(&origin.queue_id) => {
                    // Its name still counts: whether the queue exists is for those to know who may manage it.
                    picked.origins.insert(origin.queue.clone());
                    picked.skipped += 1;
                }
                _ => picked.take(status),
            }
        }
    }
    picked.more = next.is_some();
    Ok(picked)
}

/// Which of the queues that these came from are no more.
async fn gone(
    context: &Context,
    found: &FoundQueue,
    statuses: &[MessageStatus],
) -> Result<BTreeSet<u32>, ApiError> {
    let origins = statuses.iter().filter_map(|status| status.origin.as_ref());
    let origins: BTreeSet<u32> = origins.map(|origin| origin.queue_id).collect();
    let department = found.at.department;
    let read = context.shards.query(found.department.shard, move |m, kv| {
        let mut gone = BTreeSet::new();
        for queue in origins {
            if m.queue(kv, QueueRef { department, queue: QueueId(queue) })?.is_none() {
                gone.insert(queue);
            }
        }
        Ok::<_, Halt>(gone)
    });
    Ok(read.await??)
}

/// Those that the request names.
async fn pick(
    context: &Context,
    found: &FoundQueue,
    id: SubscriptionRef,
    message_ids: &[String],
    most: usize,
) -> Result<Picked, ApiError> {
    let mut wanted = Vec::new();
    for (index, message_id) in message_ids.iter().enumerate() {
        let field = format!("message_ids[{index}]");
        let (queue, sequence) = convert::message_at(&field, message_id)?;
        if queue != found.at {
            let text = "this message is of another queue than the one named";
            return Err(ApiError::field(ErrorReason::RequestInvalid, field, text));
        }
        wanted.push(sequence);
    }
    let more = wanted.len() > most;
    wanted.truncate(most);
    let mut picked = Picked { more, ..Picked::default() };
    // A look may have to read a body, and others use the worker too.
    for some in wanted.chunks(limits::MESSAGES_PER_LOOK) {
        let some = some.to_vec();
        let read = context.shards.query(found.department.shard, move |m, kv| {
            let status = |sequence| m.message_status(kv, id, sequence);
            some.into_iter().map(status).collect::<Result<Vec<_>, _>>()
        });
        for status in read.await?? {
            match status {
                Some(status) => picked.take(status),
                None => picked.skipped += 1,
            }
        }
    }
    Ok(picked)
}

impl Picked {
    fn take(&mut self, status: MessageStatus) {
        let parked = matches!(status.state, MessageState::Parked(_));
        match (status.state, status.origin) {
            (MessageState::Leased { .. } | MessageState::Settled, _) => self.skipped += 1,
            (_, None) if !parked => self.skipped += 1,
            (_, origin) => {
                self.origins.extend(origin.map(|origin| origin.queue));
                self.sequences.push(status.sequence);
            }
        }
    }
}

async fn propose(
    context: &Context,
    found: &FoundQueue,
    id: SubscriptionRef,
    picked: Picked,
    target_queue: u32,
) -> Result<RedriveDeadLettersResponse, ApiError> {
    let Picked { mut sequences, mut skipped, more, .. } = picked;
    let mut redriven = 0;
    while !sequences.is_empty() {
        let command = Command::RedriveDeadLetters(RedriveDeadLetters {
            department: found.at.department.0,
            queue: found.at.queue.0,
            subscription: id.subscription.0,
            sequences: sequences.clone(),
            target_queue,
        });
        let outcomes = match context.shards.call(found.department.shard, command).await? {
            Outcome::RedriveDeadLetters(outcomes) => outcomes?,
            _ => return Err(ApiError::fault("a redrive was answered by another outcome")),
        };
        let mut left = Vec::new();
        for (sequence, outcome) in sequences.into_iter().zip(&outcomes) {
            match outcome {
                RedriveOutcome::Moved { .. } | RedriveOutcome::Freed => redriven += 1,
                RedriveOutcome::NotReached => left.push(sequence),
                RedriveOutcome::Leased | RedriveOutcome::NotDeadLetter | RedriveOutcome::QueueGone => {
                    skipped += 1;
                }
            }
        }
        sequences = left;
    }
    Ok(RedriveDeadLettersResponse { redriven, skipped, more })
}

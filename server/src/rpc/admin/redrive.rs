//! Redrives dead letters. The messages are selected here; the engine checks again which of them may move.

use posthouse_engine::{
    ids::{QueueId, QueueRef},
    outcome::{Change, Outcome},
    schema::{Command, RedriveAnswer, RedriveDeadLetters, Request, SkipReason},
};
use posthouse_proto::v1::{self, ErrorReason, RedriveDeadLettersRequest, RedriveDeadLettersResponse};

use crate::{
    limits,
    names::{QueueName, QueueResource},
    policy::{Admission, methods},
    rpc::{
        admin::{
            dead_letters::default_subscription,
            redrive_cursor::RedriveCursor,
            redrive_selection::{Selection, Selector},
            requests,
        },
        context::{Context, Department, FoundQueue, queue_name, queue_not_found},
        wire::{convert, status::ApiError},
    },
    shard::ShardError,
};

/// Redrives the messages that the request names, or else the oldest.
pub(super) async fn redrive(
    context: &Context,
    admission: &Admission<methods::RedriveDeadLetters>,
    mut asked: RedriveDeadLettersRequest,
) -> Result<RedriveDeadLettersResponse, ApiError> {
    let id = std::mem::take(&mut asked.request_id);
    let name = queue_name("queue", &asked.queue)?;
    admission.permit::<methods::Redriving>(&default_subscription(&name))?;
    let target = target(admission, &name, &asked.target_queue)?;
    requests::check_id(&id)?;
    let department = context.department(&name.department_resource())?;
    let request = requests::of(admission, department, &id, &asked);
    let prior =
        requests::prior(context, department, &name.queue, request.as_deref(), Change::Redrive).await?;
    if let Some(outcome) = prior.outcome {
        return answer(admission, department, &name, outcome, &asked.message_ids);
    }
    let view = prior.queue.ok_or_else(|| queue_not_found(&name))?;
    let found =
        FoundQueue { department, at: QueueRef { department: department.id, queue: view.queue }, view };
    let redrive =
        Redrive { context, admission, found: &found, name: &name, target: target.as_ref(), request };
    let selection = redrive.select(&asked).await?;
    redrive.propose(selection, &asked.message_ids).await
}

/// One call of `RedriveDeadLetters` whose queue was found.
struct Redrive<'a> {
    context: &'a Context,
    admission: &'a Admission<methods::RedriveDeadLetters>,
    found: &'a FoundQueue,
    name: &'a QueueResource,
    target: Option<&'a QueueResource>,
    request: Option<Box<Request>>,
}

impl Redrive<'_> {
    async fn select(&self, asked: &RedriveDeadLettersRequest) -> Result<Selection, ApiError> {
        let limit = limit(asked.max_messages, &asked.message_ids)?;
        let id = self.context.subscription(self.found, self.name, "").await?;
        let department = self.name.department_resource();
        let has_target = self.target.is_some();
        let selector = Selector::new(self.context, self.found, id, department, self.admission, has_target);
        if asked.message_ids.is_empty() {
            let from = RedriveCursor::read(&asked.page_token, self.found.at)?;
            return selector.oldest(from, limit).await;
        }
        if !asked.page_token.is_empty() {
            let text =
                "it goes on from the oldest; of messages that are named, name those that were not reached";
            return Err(ApiError::field(ErrorReason::RequestInvalid, "page_token", text));
        }
        selector.named(sequences(self.found.at, &asked.message_ids)?, limit).await
    }

    async fn propose(
        self,
        selection: Selection,
        message_ids: &[String],
    ) -> Result<RedriveDeadLettersResponse, ApiError> {
        let target_queue = match self.target {
            Some(target) => self.context.queue(target).await?.at.queue.0,
            None => 0,
        };
        let at = self.found.at;
        if selection.is_empty() && self.request.is_none() {
            let answer = RedriveAnswer::of(at.queue, selection.passed_over(), selection.next_sequence);
            return Ok(response(at, &answer, message_ids));
        }
        if self.context.drain.is_cancelled() {
            return Err(ApiError::draining());
        }
        if self.context.disk.is_full() {
            return Err(ShardError::DiskFull.into());
        }
        let command = Command::RedriveDeadLetters(RedriveDeadLetters {
            department: at.department.0,
            queue: at.queue.0,
            subscription: selection.subscription.subscription.0,
            sequences: selection.sequences,
            target_queue,
            // They are needed when a repeated request gets the answer again.
            origins: if self.request.is_some() { selection.origins } else { Vec::new() },
            request: self.request,
            passed_over: selection.reasons.into(),
            next_sequence: selection.next_sequence,
        });
        let outcome = self.context.shards.call(self.found.department.origin(), command).await?;
        answer(self.admission, self.found.department, self.name, outcome, message_ids)
    }
}

/// The queue that all messages move to, if the request names one.
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

/// How many messages a call may redrive.
fn limit(max_messages: u32, message_ids: &[String]) -> Result<usize, ApiError> {
    let limit = limits::MAX_REDRIVE;
    if message_ids.len() > limit {
        let text = format!("there are {} ids; at most {limit} in one call", message_ids.len());
        return Err(ApiError::field(ErrorReason::RequestInvalid, "message_ids", text));
    }
    match usize::try_from(max_messages) {
        Ok(0) => Ok(limit),
        Ok(max_messages) if max_messages <= limit => Ok(max_messages),
        _ => {
            let text = format!("{max_messages} are too many; at most {limit} in one call");
            Err(ApiError::field(ErrorReason::RequestInvalid, "max_messages", text))
        }
    }
}

/// The sequences of the messages of these ids.
fn sequences(at: QueueRef, message_ids: &[String]) -> Result<Vec<u64>, ApiError> {
    let sequence = |(index, message_id): (usize, &String)| {
        let field = format!("message_ids[{index}]");
        let (queue, sequence) = convert::message_at(&field, message_id)?;
        if queue != at {
            let text = "this message is of another queue than the one named";
            return Err(ApiError::field(ErrorReason::RequestInvalid, field, text));
        }
        Ok(sequence)
    };
    message_ids.iter().enumerate().map(sequence).collect()
}

/// The answer of the engine's outcome. The outcome may be that of an earlier request, so the caller's rights on the
/// queues that the dead letters came from are checked again.
fn answer(
    admission: &Admission<methods::RedriveDeadLetters>,
    department: Department,
    name: &QueueResource,
    outcome: Outcome,
    message_ids: &[String],
) -> Result<RedriveDeadLettersResponse, ApiError> {
    let Outcome::RedriveDeadLetters(redriven) = outcome else {
        return Err(ApiError::fault("a redrive was answered by another outcome"));
    };
    let redriven = redriven?.answer;
    for origin in &redriven.origins {
        let origin = name.department_resource().queue(QueueName::parse(origin)?);
        admission.permit::<methods::RedrivingBack>(&origin)?;
    }
    let at = QueueRef { department: department.id, queue: QueueId(redriven.queue) };
    Ok(response(at, &redriven, message_ids))
}

fn response(at: QueueRef, answer: &RedriveAnswer, message_ids: &[String]) -> RedriveDeadLettersResponse {
    let reached = usize::try_from(answer.reached).unwrap_or(usize::MAX);
    let not_reached = message_ids.get(reached..).unwrap_or_default().to_vec();
    let cursor = (message_ids.is_empty() && answer.next_sequence > 0)
        .then_some(RedriveCursor { queue: at, sequence: answer.next_sequence });
    let counts = answer.counts.iter();
    let skipped = answer.skipped.iter().map(|skipped| v1::SkippedDeadLetter {
        message_id: convert::message_id(at, skipped.sequence),
        reason: reason(skipped.reason()).into(),
    });
    RedriveDeadLettersResponse {
        redriven: answer.redriven,
        skipped: counts.clone().map(|count| count.count).sum(),
        more: cursor.is_some() || !not_reached.is_empty(),
        next_page_token: cursor.map(RedriveCursor::encode).unwrap_or_default(),
        not_reached,
        skipped_by_reason: counts
            .map(|count| v1::SkippedCount { reason: reason(count.reason()).into(), count: count.count })
            .collect(),
        skipped_dead_letters: skipped.collect(),
    }
}

const fn reason(reason: SkipReason) -> v1::SkipReason {
    match reason {
        SkipReason::Unspecified => v1::SkipReason::Unspecified,
        SkipReason::Leased => v1::SkipReason::Leased,
        SkipReason::NotDeadLetter => v1::SkipReason::NotDeadLetter,
        SkipReason::QueueGone => v1::SkipReason::QueueGone,
        SkipReason::NotAllowed => v1::SkipReason::GrantMissing,
    }
}

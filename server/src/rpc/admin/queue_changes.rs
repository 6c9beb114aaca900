//! The calls that change a queue.

use posthouse_engine::{
    limits::DEFAULT_MAX_MESSAGE_BYTES,
    outcome::{Change, CreateQueueError, Outcome, QueueView, UpdateQueueError},
    schema::{Command, CreateQueue, DeleteQueue, PurgeQueue, QueueSettings, UpdateQueue},
};
use posthouse_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, ErrorReason, PurgeQueueRequest, PurgeQueueResponse, Queue,
    UpdateQueueRequest,
};

use crate::{
    policy::{Permit, methods},
    rpc::{
        admin::{
            manage_call::ManageCall,
            queue_settings::{dead_letter_queue, merge, settings, view_of_new},
            queues::QueuesService,
            requests,
        },
        context::{Department, queue_not_found},
        wire::{convert, status::ApiError},
    },
};

/// A repeated request is answered like the first: only the caller's rights are checked before.
impl QueuesService {
    pub(super) async fn create(
        &self,
        call: &ManageCall<methods::CreateQueue>,
        mut asked: CreateQueueRequest,
    ) -> Result<Queue, ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let permit = &call.permit;
        call.check_dead_letter_queue(asked.queue.as_ref().map_or("", dead_letter_queue), "")?;
        let department = self.department(permit)?;
        let digested = CreateQueueRequest {
            queue: asked.queue.as_ref().map(|queue| requests::with_defaults(permit.queue(), queue)),
            ..asked.clone()
        };
        let request = call.request(department, &id, asked.validate_only, &digested);
        let queue = &permit.queue().queue;
        let prior =
            requests::prior(&self.context, department, queue, request.as_deref(), Change::Create).await?;
        if let Some(outcome) = prior.outcome {
            return created(permit, outcome);
        }
        let mut settings = settings(permit.queue(), &asked.queue.unwrap_or_default())?;
        self.fit_max_message_bytes(permit, &mut settings, None)?;
        let quota = self.context.quota(&permit.queue().tenant)?;
        // The engine answers for a queue that exists already: queues of older versions have the request that created
        // them.
        if prior.queue.is_none() {
            quota.check_queues()?;
        }
        if asked.validate_only {
            return match prior.queue {
                Some(_) => Err(CreateQueueError::AlreadyExists.into()),
                None => Ok(convert::queue(permit.queue(), &view_of_new(permit.queue(), settings))),
            };
        }
        let command = Command::CreateQueue(CreateQueue {
            department: department.id.0,
            name: queue.to_string(),
            settings: Some(settings),
            request_id: String::new(),
            request,
        });
        created(permit, self.call(department, command).await?)
    }

    pub(super) async fn update(
        &self,
        call: &ManageCall<methods::UpdateQueue>,
        mut asked: UpdateQueueRequest,
    ) -> Result<Queue, ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let permit = &call.permit;
        let department = self.department(permit)?;
        let digested = UpdateQueueRequest {
            // The etag is a condition of an update, and so a part of the request.
            queue: asked
                .queue
                .as_ref()
                .map(|queue| Queue { etag: queue.etag.clone(), ..requests::asked_for(queue) }),
            ..asked.clone()
        };
        let request = call.request(department, &id, asked.validate_only, &digested);
        let name = permit.queue();
        let prior =
            requests::prior(&self.context, department, &name.queue, request.as_deref(), Change::Update)
                .await?;
        if prior.outcome.is_none() && prior.queue.is_none() {
            return Err(queue_not_found(name));
        }
        let UpdateQueueRequest { queue: wanted, update_mask, validate_only, .. } = asked;
        let (wanted, mask) = (wanted.unwrap_or_default(), update_mask.unwrap_or_default());
        let current = prior.queue.as_ref().map(|view| convert::queue(name, view));
        let merged = merge(current.clone().unwrap_or_default(), &wanted, &mask)?;
        let current_dead_letter_queue = current.as_ref().map_or("", dead_letter_queue);
        call.check_dead_letter_queue(dead_letter_queue(&merged), current_dead_letter_queue)?;
        if let Some(outcome) = prior.outcome {
            return updated(permit, outcome);
        }
        let current = prior.queue.ok_or_else(|| queue_not_found(name))?;
        let mut settings = settings(name, &merged)?;
        self.fit_max_message_bytes(permit, &mut settings, Some(current.settings.max_message_bytes))?;
        check_etag(&wanted.etag, &current)?;
        if validate_only {
            return Ok(merged);
        }
        let command = Command::UpdateQueue(UpdateQueue {
            department: department.id.0,
            name: name.queue.to_string(),
            settings: Some(settings),
            // The engine refuses the update if the queue is no longer the one that was merged with.
            expected_revision: current.revision,
            request,
        });
        updated(permit, self.call(department, command).await?)
    }

    pub(super) async fn delete(
        &self,
        call: &ManageCall<methods::DeleteQueue>,
        mut asked: DeleteQueueRequest,
    ) -> Result<(), ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let name = call.permit.queue();
        let department = self.department(&call.permit)?;
        if asked.validate_only {
            return check_etag(&asked.etag, &self.context.queue(name).await?.view);
        }
        let expected_revision = if asked.etag.is_empty() { 0 } else { revision(&asked.etag)? };
        let command = Command::DeleteQueue(DeleteQueue {
            department: department.id.0,
            name: name.queue.to_string(),
            expected_revision,
            request: call.request(department, &id, false, &asked),
        });
        match self.call(department, command).await? {
            Outcome::DeleteQueue(deleted) => Ok(deleted?),
            _ => Err(ApiError::fault("a deletion was answered by another outcome")),
        }
    }

    pub(super) async fn purge(
        &self,
        call: &ManageCall<methods::PurgeQueue>,
        mut asked: PurgeQueueRequest,
    ) -> Result<PurgeQueueResponse, ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let name = call.permit.queue();
        let department = self.department(&call.permit)?;
        if asked.validate_only {
            self.context.queue(name).await?;
            return Ok(PurgeQueueResponse { purged: 0 });
        }
        let command = Command::PurgeQueue(PurgeQueue {
            department: department.id.0,
            name: name.queue.to_string(),
            request: call.request(department, &id, false, &asked),
        });
        match self.call(department, command).await? {
            Outcome::PurgeQueue(purged) => Ok(PurgeQueueResponse { purged: purged? }),
            _ => Err(ApiError::fault("a purge was answered by another outcome")),
        }
    }

    async fn call(&self, department: Department, command: Command) -> Result<Outcome, ApiError> {
        if self.context.drain.is_cancelled() {
            return Err(ApiError::draining());
        }
        Ok(self.context.shards.call(department.origin(), command).await?)
    }

    /// The department of the queue, which need not exist yet.
    fn department(&self, permit: &Permit<methods::Managing>) -> Result<Department, ApiError> {
        self.context.department(&permit.queue().department_resource())
    }

    /// Keeps the maximum of a message's bytes within the tenant's limit. A maximum that the queue has already may stay:
    /// it may have been set under a higher limit.
    fn fit_max_message_bytes(
        &self,
        permit: &Permit<methods::Managing>,
        settings: &mut QueueSettings,
        current: Option<u32>,
    ) -> Result<(), ApiError> {
        let quota = self.context.quota(&permit.queue().tenant)?;
        if settings.max_message_bytes == 0 {
            settings.max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES.min(quota.max_message_bytes());
        } else if current != Some(settings.max_message_bytes) {
            quota.check_message_bytes(settings.max_message_bytes)?;
        }
        Ok(())
    }
}

fn created(permit: &Permit<methods::Managing>, outcome: Outcome) -> Result<Queue, ApiError> {
    match outcome {
        Outcome::CreateQueue(created) => Ok(convert::queue(permit.queue(), &created?)),
        _ => Err(ApiError::fault("a creation was answered by another outcome")),
    }
}

fn updated(permit: &Permit<methods::Managing>, outcome: Outcome) -> Result<Queue, ApiError> {
    match outcome {
        Outcome::UpdateQueue(updated) => Ok(convert::queue(permit.queue(), &updated?)),
        _ => Err(ApiError::fault("an update was answered by another outcome")),
    }
}

/// Checks that an etag, if there is one, is that of the queue's current definition.
fn check_etag(etag: &str, current: &QueueView) -> Result<(), ApiError> {
    if etag.is_empty() || revision(etag)? == current.revision {
        return Ok(());
    }
    Err(UpdateQueueError::RevisionMismatch(current.revision).into())
}

fn revision(etag: &str) -> Result<u64, ApiError> {
    let text = "this etag was not given out by GetQueue; read the queue again".to_owned();
    etag.parse()
        .ok()
        .filter(|r| *r > 0)
        .ok_or_else(|| ApiError::field(ErrorReason::RequestInvalid, "etag", text))
}

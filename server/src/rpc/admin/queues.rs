//! The `Queues` service.

use std::sync::Arc;

use posthouse_engine::{
    ids::{DEFAULT_SUBSCRIPTION, SubscriptionRef},
    limits::DEFAULT_MAX_MESSAGE_BYTES,
    outcome::{Change, CreateQueueError, Outcome, QueueView, UpdateQueueError},
    schema::{self, Command, CreateQueue, DeleteQueue, PurgeQueue, QueueSettings, UpdateQueue},
};
use posthouse_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, ErrorReason, GetQueueRequest, ListQueuesRequest,
    ListQueuesResponse, PurgeQueueRequest, PurgeQueueResponse, Queue, UpdateQueueRequest,
    queues_server::Queues,
};
use tonic::{Request, Response, Status};

use crate::{
    limits,
    names::DepartmentResource,
    policy::{Admission, Asks, Permit, methods},
    rpc::{
        admin::{
            list_queues,
            queue_settings::{dead_letter_queue, merge, named_target, settings, unmade},
            requests,
        },
        context::{Context, Department, queue_name, queue_not_found},
        layers::call::Call,
        request::admission,
        wire::{convert, status::ApiError},
    },
};

/// The `Queues` service.
pub(crate) struct QueuesService {
    pub(crate) context: Arc<Context>,
}

/// A call that may manage the queue that it names.
struct Managed<M: Asks<methods::Managing>> {
    admission: Admission<M>,
    permit: Permit<methods::Managing>,
}

impl<M: Asks<methods::Managing>> Managed<M> {
    fn by<T>(request: &Request<T>, field: &'static str, name: &str) -> Result<Self, Status> {
        Call::record_resource(request, name);
        let admission: Admission<M> = admission(request)?;
        let permit = admission.permit(&queue_name(field, name)?).map_err(ApiError::from)?;
        Ok(Self { admission, permit })
    }

    /// The request as it is remembered, unless it is only to be checked: then nothing is remembered, nor looked for.
    fn request(
        &self,
        department: Department,
        id: &str,
        validate_only: bool,
        rest: &impl prost::Message,
    ) -> Option<Box<schema::Request>> {
        requests::of(&self.admission, department, id, rest).filter(|_| !validate_only)
    }
}

impl<M: Asks<methods::Managing> + Asks<methods::NamingDeadLetterQueue>> Managed<M> {
    /// To name a dead-letter queue needs a right on it, whether or not it exists: what is given up here is published there.
    /// One that the queue has already may stay.
    fn may_name(&self, dead_letter_queue: &str, current: &str) -> Result<(), ApiError> {
        match named_target(self.permit.queue(), dead_letter_queue)? {
            Some(target) if dead_letter_queue != current => {
                self.admission.permit::<methods::NamingDeadLetterQueue>(&target)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl QueuesService {
    async fn call(&self, department: Department, command: Command) -> Result<Outcome, ApiError> {
        if self.context.drain.is_cancelled() {
            return Err(ApiError::draining());
        }
        Ok(self.context.shards.call(department.origin(), command).await?)
    }

    /// Where the queue is, or would be.
    fn department(&self, permit: &Permit<methods::Managing>) -> Result<Department, ApiError> {
        self.context.department(&permit.queue().department_resource())
    }

    /// Keeps the largest message within what the tenant may have. One that was set when it might have more may stay.
    fn fit(
        &self,
        permit: &Permit<methods::Managing>,
        settings: &mut QueueSettings,
        now: Option<u32>,
    ) -> Result<(), ApiError> {
        let quota = self.context.quota(&permit.queue().tenant)?;
        if settings.max_message_bytes == 0 {
            settings.max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES.min(quota.max_message_bytes());
        } else if now != Some(settings.max_message_bytes) {
            quota.check_message_bytes(settings.max_message_bytes)?;
        }
        Ok(())
    }

    async fn get(&self, permit: &Permit<methods::Describing>) -> Result<Queue, ApiError> {
        let found = self.context.queue(permit.queue()).await?;
        let at = SubscriptionRef { queue: found.at, subscription: DEFAULT_SUBSCRIPTION };
        let stats =
            self.context.shards.query(found.department.origin(), move |m, kv| m.stats(kv, at)).await??;
        let mut queue = convert::queue(permit.queue(), &found.view);
        queue.stats = Some(convert::stats(&stats.unwrap_or_default(), self.context.clock.now()));
        Ok(queue)
    }
}

#[tonic::async_trait]
impl Queues for QueuesService {
    async fn create_queue(&self, request: Request<CreateQueueRequest>) -> Result<Response<Queue>, Status> {
        let name = request.get_ref().queue.as_ref().map_or("", |q| &q.name);
        let managed = Managed::<methods::CreateQueue>::by(&request, "queue.name", name)?;
        Ok(Response::new(self.create(&managed, request.into_inner()).await?))
    }

    async fn get_queue(&self, request: Request<GetQueueRequest>) -> Result<Response<Queue>, Status> {
        let admission = admission::<methods::GetQueue, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().name);
        let name = queue_name("name", &request.get_ref().name)?;
        let permit = admission.permit(&name).map_err(ApiError::from)?;
        Ok(Response::new(self.get(&permit).await?))
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let admission = admission::<methods::ListQueues, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().parent);
        let ListQueuesRequest { parent, page_size, page_token } = request.into_inner();
        let parent = parent.parse::<DepartmentResource>().map_err(ApiError::from)?;
        let shown = admission.filter::<methods::Listing>(&parent).map_err(ApiError::from)?;
        let department = self.context.department(&parent)?;
        let size = page_size_of(page_size)?;
        let after = list_queues::page_start(&page_token)?;
        Ok(Response::new(list_queues::page(&self.context, &shown, department, after, size).await?))
    }

    async fn update_queue(&self, request: Request<UpdateQueueRequest>) -> Result<Response<Queue>, Status> {
        let name = request.get_ref().queue.as_ref().map_or("", |q| &q.name);
        let managed = Managed::<methods::UpdateQueue>::by(&request, "queue.name", name)?;
        Ok(Response::new(self.update(&managed, request.into_inner()).await?))
    }

    async fn delete_queue(&self, request: Request<DeleteQueueRequest>) -> Result<Response<()>, Status> {
        let managed = Managed::<methods::DeleteQueue>::by(&request, "name", &request.get_ref().name)?;
        Ok(Response::new(self.delete(&managed, request.into_inner()).await?))
    }

    async fn purge_queue(
        &self,
        request: Request<PurgeQueueRequest>,
    ) -> Result<Response<PurgeQueueResponse>, Status> {
        let managed = Managed::<methods::PurgeQueue>::by(&request, "name", &request.get_ref().name)?;
        Ok(Response::new(self.purge(&managed, request.into_inner()).await?))
    }
}

/// The changes. A request that was done is answered before anything but the caller's rights is looked at.
impl QueuesService {
    async fn create(
        &self,
        managed: &Managed<methods::CreateQueue>,
        mut asked: CreateQueueRequest,
    ) -> Result<Queue, ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let permit = &managed.permit;
        managed.may_name(asked.queue.as_ref().map_or("", dead_letter_queue), "")?;
        let department = self.department(permit)?;
        let told_apart_by = CreateQueueRequest {
            queue: asked.queue.as_ref().map(|queue| requests::to_be_made(permit.queue(), queue)),
            ..asked.clone()
        };
        let request = managed.request(department, &id, asked.validate_only, &told_apart_by);
        let queue = &permit.queue().queue;
        let known =
            requests::known(&self.context, department, queue, request.as_deref(), Change::Create).await?;
        if let Some(told) = known.told {
            return created(permit, told);
        }
        let mut settings = settings(permit.queue(), &asked.queue.unwrap_or_default())?;
        self.fit(permit, &mut settings, None)?;
        let quota = self.context.quota(&permit.queue().tenant)?;
        // One that is there already is answered by the machine: queues of before know the request that made them.
        if known.queue.is_none() {
            quota.check_queues()?;
        }
        if asked.validate_only {
            return match known.queue {
                Some(_) => Err(CreateQueueError::AlreadyExists.into()),
                None => Ok(convert::queue(permit.queue(), &unmade(permit.queue(), settings))),
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

    async fn update(
        &self,
        managed: &Managed<methods::UpdateQueue>,
        mut asked: UpdateQueueRequest,
    ) -> Result<Queue, ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let permit = &managed.permit;
        let department = self.department(permit)?;
        let told_apart_by = UpdateQueueRequest {
            // The etag is a condition here.
            queue: asked
                .queue
                .as_ref()
                .map(|queue| Queue { etag: queue.etag.clone(), ..requests::asked_for(queue) }),
            ..asked.clone()
        };
        let request = managed.request(department, &id, asked.validate_only, &told_apart_by);
        let name = permit.queue();
        let known =
            requests::known(&self.context, department, &name.queue, request.as_deref(), Change::Update)
                .await?;
        if known.told.is_none() && known.queue.is_none() {
            return Err(queue_not_found(name));
        }
        let UpdateQueueRequest { queue: wanted, update_mask, validate_only, .. } = asked;
        let (wanted, mask) = (wanted.unwrap_or_default(), update_mask.unwrap_or_default());
        let now = known.queue.as_ref().map(|view| convert::queue(name, view));
        let merged = merge(now.clone().unwrap_or_default(), &wanted, &mask)?;
        managed.may_name(dead_letter_queue(&merged), now.as_ref().map_or("", dead_letter_queue))?;
        if let Some(told) = known.told {
            return updated(permit, told);
        }
        let current = known.queue.ok_or_else(|| queue_not_found(name))?;
        let mut settings = settings(name, &merged)?;
        self.fit(permit, &mut settings, Some(current.settings.max_message_bytes))?;
        check_etag(&wanted.etag, &current)?;
        if validate_only {
            return Ok(merged);
        }
        let command = Command::UpdateQueue(UpdateQueue {
            department: department.id.0,
            name: name.queue.to_string(),
            settings: Some(settings),
            // What was merged here must still be what it was merged with.
            expected_revision: current.revision,
            request,
        });
        updated(permit, self.call(department, command).await?)
    }

    async fn delete(
        &self,
        managed: &Managed<methods::DeleteQueue>,
        mut asked: DeleteQueueRequest,
    ) -> Result<(), ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let name = managed.permit.queue();
        let department = self.department(&managed.permit)?;
        if asked.validate_only {
            return check_etag(&asked.etag, &self.context.queue(name).await?.view);
        }
        let expected_revision = if asked.etag.is_empty() { 0 } else { revision(&asked.etag)? };
        let command = Command::DeleteQueue(DeleteQueue {
            department: department.id.0,
            name: name.queue.to_string(),
            expected_revision,
            request: managed.request(department, &id, false, &asked),
        });
        match self.call(department, command).await? {
            Outcome::DeleteQueue(deleted) => Ok(deleted?),
            _ => Err(ApiError::fault("a deletion was answered by another outcome")),
        }
    }

    async fn purge(
        &self,
        managed: &Managed<methods::PurgeQueue>,
        mut asked: PurgeQueueRequest,
    ) -> Result<PurgeQueueResponse, ApiError> {
        let id = std::mem::take(&mut asked.request_id);
        requests::check_id(&id)?;
        let name = managed.permit.queue();
        let department = self.department(&managed.permit)?;
        if asked.validate_only {
            self.context.queue(name).await?;
            return Ok(PurgeQueueResponse { purged: 0 });
        }
        let command = Command::PurgeQueue(PurgeQueue {
            department: department.id.0,
            name: name.queue.to_string(),
            request: managed.request(department, &id, false, &asked),
        });
        match self.call(department, command).await? {
            Outcome::PurgeQueue(purged) => Ok(PurgeQueueResponse { purged: purged? }),
            _ => Err(ApiError::fault("a purge was answered by another outcome")),
        }
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

/// An etag, if one is given, must be the current one's.
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

pub(super) fn page_size_of(page_size: i32) -> Result<usize, ApiError> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(limits::DEFAULT_PAGE),
        Ok(size) => Ok(size.min(limits::MAX_PAGE)),
        Err(_) => Err(ApiError::field(
            ErrorReason::RequestInvalid,
            "page_size",
            format!("0 to {}", limits::MAX_PAGE),
        )),
    }
}

//! The `Queues` service.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_engine::{
    ids::{DEFAULT_SUBSCRIPTION, SubscriptionRef},
    limits::{DEFAULT_MAX_MESSAGE_BYTES, LEASE_DURATION_MS, MAX_MAX_ATTEMPTS, MAX_MAX_MESSAGE_BYTES},
    outcome::{CreateQueueError, Outcome, UpdateQueueError},
    schema::{Command, CreateQueue, DeleteQueue, PurgeQueue, QueueSettings, UpdateQueue},
};
use posthouse_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, ErrorReason, GetQueueRequest, ListQueuesRequest,
    ListQueuesResponse, PurgeQueueRequest, PurgeQueueResponse, Queue, SubscriptionSettings,
    UpdateQueueRequest, queues_server::Queues,
};
use prost_types::FieldMask;
use tonic::{Request, Response, Status};

use super::{
    context::{Context, FoundQueue, admission, now_ms, queue_name},
    convert,
    status::ApiError,
    watch::Call,
};
use crate::{
    limits,
    names::{DepartmentResource, QueueName, QueueResource},
    policy::{Admission, Asks, Permit, methods},
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
        Call::names(request, name);
        let admission: Admission<M> = admission(request)?;
        let permit = admission.permit(&queue_name(field, name)?).map_err(ApiError::from)?;
        Ok(Self { admission, permit })
    }
}

impl<M: Asks<methods::Managing> + Asks<methods::NamingDeadLetterQueue>> Managed<M> {
    /// To name a dead-letter queue needs a right on it, whether or not it exists: what is given up here is published there.
    /// One that the queue has already may stay.
    fn may_name(&self, dead_letter_queue: &str, current: &str) -> Result<(), ApiError> {
        if !dead_letter_queue.is_empty() && dead_letter_queue != current {
            let target = queue_name(DEAD_LETTER_FIELD, dead_letter_queue)?;
            self.admission.permit::<methods::NamingDeadLetterQueue>(&target)?;
        }
        Ok(())
    }
}

impl QueuesService {
    async fn call(
        &self,
        permit: &Permit<methods::Managing>,
        command: impl FnOnce(u32) -> Command,
    ) -> Result<Outcome, ApiError> {
        if self.context.drain.is_cancelled() {
            return Err(ApiError::draining());
        }
        let department = self.context.department(&permit.queue().department_resource())?;
        Ok(self.context.shards.call(department.shard, command(department.id.0)).await?)
    }

    /// The department is there, the queue is not.
    async fn absent(&self, permit: &Permit<methods::Managing>) -> Result<(), ApiError> {
        self.context.department(&permit.queue().department_resource())?;
        match self.context.queue(permit.queue()).await {
            Ok(_) => Err(CreateQueueError::AlreadyExists.into()),
            Err(error) if error.reason() == ErrorReason::QueueNotFound => Ok(()),
            Err(error) => Err(error),
        }
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
        let stats = self.context.shards.query(found.department.shard, move |m, kv| m.stats(kv, at)).await??;
        let mut queue = convert::queue(permit.queue(), &found.view);
        queue.stats = Some(convert::stats(&stats.unwrap_or_default(), now_ms()));
        Ok(queue)
    }
}

#[tonic::async_trait]
impl Queues for QueuesService {
    async fn create_queue(&self, request: Request<CreateQueueRequest>) -> Result<Response<Queue>, Status> {
        let name = request.get_ref().queue.as_ref().map_or("", |q| &q.name);
        let managed = Managed::<methods::CreateQueue>::by(&request, "queue.name", name)?;
        let CreateQueueRequest { queue, request_id, validate_only } = request.into_inner();
        check_request_id(&request_id)?;
        let (queue, permit) = (queue.unwrap_or_default(), &managed.permit);
        let mut settings = settings(permit.queue(), &queue)?;
        managed.may_name(dead_letter_queue(&queue), "")?;
        self.fit(permit, &mut settings, None)?;
        if self.context.quota(&permit.queue().tenant)?.check_queues().is_err() {
            // One that is there already is answered as ever: the request may be a repeated one.
            if let Err(error) = self.absent(permit).await {
                if error.reason() != ErrorReason::QueueAlreadyExists {
                    return Err(error.into());
                }
            } else {
                self.context.quota(&permit.queue().tenant)?.check_queues().map_err(ApiError::from)?;
            }
        }
        if validate_only {
            self.absent(permit).await?;
            let view = posthouse_engine::outcome::QueueView {
                department: posthouse_engine::ids::DepartmentId(0),
                queue: posthouse_engine::ids::QueueId(0),
                name: permit.queue().queue.to_string(),
                revision: 0,
                created_at_ms: 0,
                updated_at_ms: 0,
                settings,
            };
            return Ok(Response::new(convert::queue(permit.queue(), &view)));
        }
        let name = permit.queue().queue.to_string();
        let command = |department| {
            Command::CreateQueue(CreateQueue { department, name, settings: Some(settings), request_id })
        };
        match self.call(permit, command).await? {
            Outcome::CreateQueue(created) => {
                let view = created.map_err(ApiError::from)?;
                Ok(Response::new(convert::queue(permit.queue(), &view)))
            }
            _ => Err(ApiError::fault("a creation was answered by another outcome").into()),
        }
    }

    async fn get_queue(&self, request: Request<GetQueueRequest>) -> Result<Response<Queue>, Status> {
        let admission = admission::<methods::GetQueue, _>(&request)?;
        Call::names(&request, &request.get_ref().name);
        let name = queue_name("name", &request.get_ref().name)?;
        let permit = admission.permit(&name).map_err(ApiError::from)?;
        Ok(Response::new(self.get(&permit).await?))
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let admission = admission::<methods::ListQueues, _>(&request)?;
        Call::names(&request, &request.get_ref().parent);
        let ListQueuesRequest { parent, page_size, page_token } = request.into_inner();
        let parent = parent.parse::<DepartmentResource>().map_err(ApiError::from)?;
        let shown = admission.filter::<methods::Listing>(&parent).map_err(ApiError::from)?;
        let department = self.context.department(&parent)?;
        let size = page_size_of(page_size)?;
        let mut after = page_start(&page_token)?;
        let (mut queues, mut next_page_token) = (Vec::new(), String::new());
        loop {
            let (id, from) = (department.id, after.clone());
            let read =
                self.context.shards.query(department.shard, move |m, kv| m.list_queues(kv, id, &from, size));
            let page = read.await.map_err(ApiError::from)?.map_err(ApiError::from)?;
            let full = page.len() == size;
            for view in page {
                after.clone_from(&view.name);
                let queue = QueueName::parse(&view.name).map_err(ApiError::from)?;
                let (tenant, department) = (parent.tenant.clone(), parent.department.clone());
                let name = QueueResource { tenant, department, queue };
                // What the caller has no grant for is not there.
                if shown.covers(&name) && queues.len() < size {
                    queues.push(convert::queue(&name, &view));
                    if queues.len() == size {
                        next_page_token = BASE64_URL_SAFE_NO_PAD.encode(&after);
                    }
                }
            }
            if !full || queues.len() == size {
                return Ok(Response::new(ListQueuesResponse { queues, next_page_token }));
            }
        }
    }

    async fn update_queue(&self, request: Request<UpdateQueueRequest>) -> Result<Response<Queue>, Status> {
        let name = request.get_ref().queue.as_ref().map_or("", |q| &q.name);
        let managed = Managed::<methods::UpdateQueue>::by(&request, "queue.name", name)?;
        let UpdateQueueRequest { queue, update_mask, request_id, validate_only } = request.into_inner();
        let permit = &managed.permit;
        check_request_id(&request_id)?;
        let wanted = queue.unwrap_or_default();
        let current = self.context.queue(permit.queue()).await?;
        let now = convert::queue(permit.queue(), &current.view);
        let merged = merge(now.clone(), &wanted, &update_mask.unwrap_or_default())?;
        let mut settings = settings(permit.queue(), &merged)?;
        managed.may_name(dead_letter_queue(&merged), dead_letter_queue(&now))?;
        self.fit(permit, &mut settings, Some(current.view.settings.max_message_bytes))?;
        // Without an etag, what was merged here must still be what it was merged with.
        let expected_revision =
            if wanted.etag.is_empty() { current.view.revision } else { revision(&wanted.etag)? };
        if validate_only {
            check_revision(&current, expected_revision)?;
            return Ok(Response::new(merged));
        }
        let name = permit.queue().queue.to_string();
        let command = |department| {
            Command::UpdateQueue(UpdateQueue {
                department,
                name,
                settings: Some(settings),
                expected_revision,
            })
        };
        match self.call(permit, command).await? {
            Outcome::UpdateQueue(updated) => {
                let view = updated.map_err(ApiError::from)?;
                Ok(Response::new(convert::queue(permit.queue(), &view)))
            }
            _ => Err(ApiError::fault("an update was answered by another outcome").into()),
        }
    }

    async fn delete_queue(&self, request: Request<DeleteQueueRequest>) -> Result<Response<()>, Status> {
        let managed = Managed::<methods::DeleteQueue>::by(&request, "name", &request.get_ref().name)?;
        let permit = &managed.permit;
        let DeleteQueueRequest { etag, request_id, validate_only, .. } = request.into_inner();
        check_request_id(&request_id)?;
        let expected_revision = if etag.is_empty() { 0 } else { revision(&etag)? };
        if validate_only {
            check_revision(&self.context.queue(permit.queue()).await?, expected_revision)?;
            return Ok(Response::new(()));
        }
        let name = permit.queue().queue.to_string();
        let command = |department| Command::DeleteQueue(DeleteQueue { department, name, expected_revision });
        match self.call(permit, command).await? {
            Outcome::DeleteQueue(deleted) => Ok(Response::new(deleted.map_err(ApiError::from)?)),
            _ => Err(ApiError::fault("a deletion was answered by another outcome").into()),
        }
    }

    async fn purge_queue(
        &self,
        request: Request<PurgeQueueRequest>,
    ) -> Result<Response<PurgeQueueResponse>, Status> {
        let managed = Managed::<methods::PurgeQueue>::by(&request, "name", &request.get_ref().name)?;
        let permit = &managed.permit;
        let PurgeQueueRequest { request_id, validate_only, .. } = request.into_inner();
        check_request_id(&request_id)?;
        if validate_only {
            self.context.queue(permit.queue()).await?;
            return Ok(Response::new(PurgeQueueResponse { purged: 0 }));
        }
        let name = permit.queue().queue.to_string();
        let command = |department| Command::PurgeQueue(PurgeQueue { department, name });
        match self.call(permit, command).await? {
            Outcome::PurgeQueue(purged) => {
                Ok(Response::new(PurgeQueueResponse { purged: purged.map_err(ApiError::from)? }))
            }
            _ => Err(ApiError::fault("a purge was answered by another outcome").into()),
        }
    }
}

const LEASE_DURATION_FIELD: &str = "default_subscription.lease_duration";
const DEAD_LETTER_FIELD: &str = "default_subscription.dead_letter_queue";

fn invalid(reason: ErrorReason, field: &'static str, text: String) -> ApiError {
    ApiError::field(reason, field, text)
}

fn check_request_id(request_id: &str) -> Result<(), ApiError> {
    if request_id.len() <= limits::MAX_REQUEST_ID_BYTES {
        return Ok(());
    }
    let most = limits::MAX_REQUEST_ID_BYTES;
    let text = format!("it has {} bytes; at most {most}, a UUID for example", request_id.len());
    Err(invalid(ErrorReason::RequestInvalid, "request_id", text).with_limit(most))
}

/// The full name of the dead-letter queue of a definition; empty: it has none.
fn dead_letter_queue(queue: &Queue) -> &str {
    queue.default_subscription.as_ref().map_or("", |settings| &settings.dead_letter_queue)
}

/// As the machine compares it.
fn check_revision(found: &FoundQueue, expected: u64) -> Result<(), ApiError> {
    let revision = found.view.revision;
    if expected == 0 || expected == revision {
        return Ok(());
    }
    Err(UpdateQueueError::RevisionMismatch(revision).into())
}

fn revision(etag: &str) -> Result<u64, ApiError> {
    let text = "this etag was not given out by GetQueue; read the queue again".to_owned();
    etag.parse().ok().filter(|r| *r > 0).ok_or_else(|| invalid(ErrorReason::RequestInvalid, "etag", text))
}

pub(super) fn page_size_of(page_size: i32) -> Result<usize, ApiError> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(limits::DEFAULT_PAGE),
        Ok(size) => Ok(size.min(limits::MAX_PAGE)),
        Err(_) => {
            Err(invalid(ErrorReason::RequestInvalid, "page_size", format!("0 to {}", limits::MAX_PAGE)))
        }
    }
}

fn page_start(page_token: &str) -> Result<String, ApiError> {
    let decoded =
        BASE64_URL_SAFE_NO_PAD.decode(page_token).ok().and_then(|name| String::from_utf8(name).ok());
    let known = decoded.filter(|name| name.is_empty() || QueueName::parse(name).is_ok());
    let text = "this page_token was not given out by ListQueues; begin again without one".to_owned();
    known.ok_or_else(|| invalid(ErrorReason::PageTokenInvalid, "page_token", text))
}

/// Settings as the machine takes them; 0 and absent are its defaults.
fn settings(name: &QueueResource, queue: &Queue) -> Result<QueueSettings, ApiError> {
    let wrong = |field, text| invalid(ErrorReason::SettingsInvalid, field, text);
    if queue.max_message_bytes > MAX_MAX_MESSAGE_BYTES {
        let text = format!("at most {MAX_MAX_MESSAGE_BYTES}; send what is larger in parts, or by reference");
        return Err(wrong("max_message_bytes", text).with_limit(MAX_MAX_MESSAGE_BYTES));
    }
    let SubscriptionSettings { lease_duration, max_attempts, dead_letter_queue } =
        queue.default_subscription.clone().unwrap_or_default();
    if max_attempts > MAX_MAX_ATTEMPTS {
        let error = wrong("default_subscription.max_attempts", format!("at most {MAX_MAX_ATTEMPTS}"));
        return Err(error.with_limit(MAX_MAX_ATTEMPTS));
    }
    let lease_duration_ms = lease_duration
        .as_ref()
        .map_or(Ok(0), |lease| convert::millis(LEASE_DURATION_FIELD, lease, LEASE_DURATION_MS))
        .map_err(|error| error.because(ErrorReason::SettingsInvalid))?;
    let dead_letter_queue = if dead_letter_queue.is_empty() {
        String::new()
    } else {
        let target = queue_name(DEAD_LETTER_FIELD, &dead_letter_queue)?;
        if target.department_resource() != name.department_resource() {
            let text = "a dead-letter queue stands in the same department as its queue".to_owned();
            return Err(wrong(DEAD_LETTER_FIELD, text));
        }
        target.queue.to_string()
    };
    let max_message_bytes = queue.max_message_bytes;
    Ok(QueueSettings { max_message_bytes, lease_duration_ms, max_attempts, dead_letter_queue })
}

/// The current definition with the masked fields of the wanted one.
fn merge(mut current: Queue, wanted: &Queue, mask: &FieldMask) -> Result<Queue, ApiError> {
    let from = wanted.default_subscription.clone().unwrap_or_default();
    let mut to = current.default_subscription.take().unwrap_or_default();
    for path in &mask.paths {
        match path.as_str() {
            "max_message_bytes" => current.max_message_bytes = wanted.max_message_bytes,
            "default_subscription" => to = from.clone(),
            "default_subscription.lease_duration" => to.lease_duration = from.lease_duration,
            "default_subscription.max_attempts" => to.max_attempts = from.max_attempts,
            "default_subscription.dead_letter_queue" => {
                to.dead_letter_queue.clone_from(&from.dead_letter_queue)
            }
            _ => {
                let text = "update_mask takes max_message_bytes, default_subscription and its fields lease_duration, \
                            max_attempts, dead_letter_queue";
                return Err(invalid(ErrorReason::RequestInvalid, "update_mask", text.to_owned()));
            }
        }
    }
    if mask.paths.is_empty() {
        let text = "update_mask is empty; name the fields to change".to_owned();
        return Err(invalid(ErrorReason::RequestInvalid, "update_mask", text));
    }
    current.default_subscription = Some(to);
    Ok(current)
}

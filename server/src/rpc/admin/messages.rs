//! The `Messages` service: the state of messages, and dead letters. It never sends payloads.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_engine::{halt::Halt, ids::QueueRef, kv::Kv, machine::ShardMachine};
use posthouse_proto::v1::{
    ErrorReason, FindMessageRequest, ListDeadLettersRequest, ListDeadLettersResponse, MessageStatus,
    RedriveDeadLettersRequest, RedriveDeadLettersResponse, messages_server::Messages,
};
use tonic::{Request, Response, Status};

use crate::{
    grants::QueuesGranted,
    limits,
    names::{DepartmentName, DepartmentResource, QueueName, QueueResource, SubscriptionName, TenantName},
    policy::{Admission, Denied, methods},
    rpc::{
        admin::{
            dead_letters::{self, default_subscription},
            list_queues, redrive,
        },
        context::{Context, queue_name},
        layers::call::Call,
        request::admission,
        wire::{convert, status::ApiError},
    },
    shard::Origin,
};

/// The `Messages` service.
pub(crate) struct MessagesService {
    pub(crate) context: Arc<Context>,
}

#[tonic::async_trait]
impl Messages for MessagesService {
    async fn find_message(
        &self,
        request: Request<FindMessageRequest>,
    ) -> Result<Response<MessageStatus>, Status> {
        let admission = admission(&request)?;
        // The request names its resource only by the message's id.
        Call::record_resource(&request, &request.get_ref().message_id);
        let FindMessageRequest { message_id, subscription } = request.into_inner();
        Ok(Response::new(self.find(&admission, &message_id, &subscription).await?))
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let admission = admission(&request)?;
        Call::record_resource(&request, &request.get_ref().queue);
        Ok(Response::new(self.list(&admission, request.into_inner()).await?))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        let admission = admission(&request)?;
        Call::record_resource(&request, &request.get_ref().queue);
        Ok(Response::new(redrive::redrive(&self.context, &admission, request.into_inner()).await?))
    }
}

impl MessagesService {
    async fn find(
        &self,
        admission: &Admission<methods::FindMessage>,
        message_id: &str,
        subscription: &str,
    ) -> Result<MessageStatus, ApiError> {
        let (at, sequence) = convert::message_at("message_id", message_id)?;
        if !subscription.is_empty() {
            SubscriptionName::parse(subscription)?;
        }
        // A message that does not exist is refused like one the caller has no grant for, so that an id discloses
        // nothing.
        let denied = || ApiError::from(Denied::GrantMissing);
        let name = self.granted_name(admission, at).await?.ok_or_else(denied)?;
        admission.permit::<methods::Describing>(&name)?;
        let queue = self.context.queue(&name).await?;
        if queue.at != at {
            // The queue was deleted meanwhile, and another was created under its name.
            return Err(denied());
        }
        let id = self.context.subscription(&queue, &name, subscription).await?;
        let read = move |m: &mut ShardMachine, kv: &dyn Kv| m.message_status(kv, id, sequence);
        let status = self.context.shards.query(queue.department.origin(), read).await??;
        Ok(convert::message_status(at, &name, status.ok_or_else(denied)?, self.context.clock.now()))
    }

    /// The name of the queue of this id, if the caller has a grant for it. The shard is asked only about queues that
    /// the grants name, or about departments all of whose queues they name, so that the time it takes discloses no
    /// others.
    async fn granted_name(
        &self,
        admission: &Admission<methods::FindMessage>,
        at: QueueRef,
    ) -> Result<Option<QueueResource>, ApiError> {
        let directory = self.context.catalogue.directory();
        let Some((tenant, department)) = directory.names(at.department) else { return Ok(None) };
        let Some(found) = directory.department(tenant, department) else { return Ok(None) };
        let origin = Origin { shard: found.shard, tenant: Some(found.tenant) };
        let department = DepartmentResource {
            tenant: TenantName::parse(tenant)?,
            department: DepartmentName::parse(department)?,
        };
        let name = match admission.queues_granted::<methods::Describing>(&department) {
            QueuesGranted::Every => {
                let view = self.context.shards.query(origin, move |m, kv| m.queue(kv, at)).await??;
                view.map(|view| QueueName::parse(&view.name)).transpose()?
            }
            QueuesGranted::Named(names) if names.is_empty() => None,
            QueuesGranted::Named(names) => {
                let read = self.context.shards.query(origin, move |m, kv| {
                    let mut found = None;
                    // All names are looked up, so that the time does not depend on which of them it is.
                    for name in names {
                        let view = m.queue_by_name(kv, at.department, name.as_str())?;
                        if view.is_some_and(|view| view.queue == at.queue) {
                            found = Some(name);
                        }
                    }
                    Ok::<_, Halt>(found)
                });
                read.await??
            }
        };
        Ok(name.map(|queue| department.queue(queue)))
    }

    async fn list(
        &self,
        admission: &Admission<methods::ListDeadLetters>,
        request: ListDeadLettersRequest,
    ) -> Result<ListDeadLettersResponse, ApiError> {
        let ListDeadLettersRequest { queue, page_size, page_token, source_message_id } = request;
        let name = queue_name("queue", &queue)?;
        admission.permit::<methods::ListingDeadLetters>(&default_subscription(&name))?;
        let size = list_queues::page_size(page_size)?;
        let mut next = Some(page_start(&page_token)?);
        let source = (!source_message_id.is_empty())
            .then(|| convert::message_at("source_message_id", &source_message_id))
            .transpose()?;
        let found = self.context.queue(&name).await?;
        let id = self.context.subscription(&found, &name, "").await?;
        let mut dead_letters = Vec::new();
        for _ in 0..limits::DEAD_LETTER_SCANS {
            let Some(from) = next.filter(|_| dead_letters.len() < size) else { break };
            let page = dead_letters::read(&self.context, &found, id, from, size - dead_letters.len()).await?;
            next = page.next;
            let wanted = page.found.into_iter().filter(|status| {
                source.is_none_or(|(queue, sequence)| {
                    let origin = status.origin.as_ref();
                    queue.department == found.at.department
                        && origin.is_some_and(|o| o.queue_id == queue.queue.0 && o.sequence == sequence)
                })
            });
            let now = self.context.clock.now();
            dead_letters.extend(wanted.map(|status| convert::message_status(found.at, &name, status, now)));
        }
        let next_page_token = next.map(|at| BASE64_URL_SAFE_NO_PAD.encode(at.to_be_bytes()));
        Ok(ListDeadLettersResponse { dead_letters, next_page_token: next_page_token.unwrap_or_default() })
    }
}

/// The sequence at which the page of this token begins.
fn page_start(page_token: &str) -> Result<u64, ApiError> {
    if page_token.is_empty() {
        return Ok(0);
    }
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(page_token).ok();
    let at = decoded.and_then(|at| Some(u64::from_be_bytes(at.try_into().ok()?)));
    at.ok_or_else(|| {
        let text = "this page_token was not given out by ListDeadLetters; begin again without one";
        ApiError::field(ErrorReason::PageTokenInvalid, "page_token", text)
    })
}

//! Requests with an id of the caller: a change is made once, and a repeated request gets the answer of the first.

use aws_lc_rs::digest::{Context as Digest, SHA256};
use posthouse_engine::{
    halt::Halt,
    outcome::{Change, Outcome, QueueView},
    schema::Request,
};
use posthouse_proto::v1::{ErrorReason, Queue};

use crate::{
    limits,
    names::{QueueName, QueueResource},
    policy::{Admission, Rpc},
    rpc::{
        admin::queue_settings::{settings, view_of_new},
        context::{Context, Department},
        wire::{convert, status::ApiError},
    },
};

/// The shard's state before a change, read at one moment.
pub(super) struct PriorState {
    /// The outcome of an earlier request of this id, which answers a repeated one whatever state the queue is in now.
    pub(super) outcome: Option<Outcome>,
    /// The queue of the name, if there is one.
    pub(super) queue: Option<QueueView>,
}

/// Refuses an id that is too long. An empty id is no id.
pub(super) fn check_id(id: &str) -> Result<(), ApiError> {
    if id.len() <= limits::MAX_REQUEST_ID_BYTES {
        return Ok(());
    }
    let max = limits::MAX_REQUEST_ID_BYTES;
    let text = format!("it has {} bytes; at most {max}, a UUID for example", id.len());
    Err(ApiError::field(ErrorReason::RequestInvalid, "request_id", text).with_limit(max))
}

/// The request as the engine remembers it, if it has an id. `digested` is the request without the id.
pub(super) fn of<M: Rpc>(
    admission: &Admission<M>,
    department: Department,
    id: &str,
    digested: &impl prost::Message,
) -> Option<Box<Request>> {
    if id.is_empty() {
        return None;
    }
    let mut digest = Digest::new(&SHA256);
    digest.update(M::METHOD.path.as_bytes());
    digest.update(&[0]);
    digest.update(&digested.encode_to_vec());
    Some(Box::new(Request {
        id: id.to_owned(),
        tenant: department.tenant.0,
        subject: admission.principal().subject.clone(),
        digest: bytes::Bytes::copy_from_slice(digest.finish().as_ref()),
    }))
}

/// The fields of a queue that a caller sets. Those that only the server sets are no part of a request.
pub(super) fn asked_for(queue: &Queue) -> Queue {
    // All fields are named, so that a new one is put on one side or the other.
    let Queue {
        name,
        max_message_bytes,
        default_subscription,
        uid: _,
        etag: _,
        create_time: _,
        update_time: _,
        stats: _,
    } = queue;
    Queue {
        name: name.clone(),
        max_message_bytes: *max_message_bytes,
        default_subscription: default_subscription.clone(),
        ..Queue::default()
    }
}

/// The fields that a caller sets of a queue that it creates, with defaults for those it leaves out: the answer contains
/// the defaults, and a caller may repeat the request with the queue of that answer.
pub(super) fn with_defaults(name: &QueueResource, queue: &Queue) -> Queue {
    // Invalid settings are refused later, unless the request turns out to be a repeated one.
    let Ok(settings) = settings(name, queue) else { return asked_for(queue) };
    asked_for(&convert::queue(name, &view_of_new(name, settings.with_defaults())))
}

/// Reads the state before a change from the shard of a department.
pub(super) async fn prior(
    context: &Context,
    department: Department,
    queue: &QueueName,
    request: Option<&Request>,
    change: Change,
) -> Result<PriorState, ApiError> {
    let (id, name, request) = (department.id, queue.as_str().to_owned(), request.cloned());
    let read = context.shards.query(department.origin(), move |m, kv| {
        let outcome = match &request {
            Some(request) => m.requested(kv, id, request, change)?,
            None => None,
        };
        Ok::<_, Halt>(PriorState { outcome, queue: m.queue_by_name(kv, id, &name)? })
    });
    Ok(read.await??)
}

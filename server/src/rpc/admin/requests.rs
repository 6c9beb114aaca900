//! Changes that a caller asks for with an id of its own: each is made once, and a repeat is told what the first was.

use aws_lc_rs::digest::{Context as Digest, SHA256};
use posthouse_engine::{
    outcome::{Change, Outcome, QueueView},
    schema::Request,
};
use posthouse_proto::v1::{ErrorReason, Queue};

use crate::{
    limits,
    names::{QueueName, QueueResource},
    policy::{Admission, Rpc},
    rpc::{
        admin::queue_settings::{settings, unmade},
        context::{Context, Department},
        wire::{convert, status::ApiError},
    },
};

/// What the shard knows before a change is made, all of it at one moment: a repeat is told from the first by nothing else.
pub(super) struct Known {
    /// The request was done: so its repeat is answered, whatever the queue is like now.
    pub(super) told: Option<Outcome>,
    /// The queue of the name, if there is one.
    pub(super) queue: Option<QueueView>,
}

/// Refuses an id that is too long. An empty one is none.
pub(super) fn check_id(id: &str) -> Result<(), ApiError> {
    if id.len() <= limits::MAX_REQUEST_ID_BYTES {
        return Ok(());
    }
    let most = limits::MAX_REQUEST_ID_BYTES;
    let text = format!("it has {} bytes; at most {most}, a UUID for example", id.len());
    Err(ApiError::field(ErrorReason::RequestInvalid, "request_id", text).with_limit(most))
}

/// The request as the machine remembers it, if it has an id. `rest` is the whole of it without the id.
pub(super) fn of<M: Rpc>(
    admission: &Admission<M>,
    department: Department,
    id: &str,
    rest: &impl prost::Message,
) -> Option<Box<Request>> {
    if id.is_empty() {
        return None;
    }
    let mut digest = Digest::new(&SHA256);
    digest.update(M::METHOD.path.as_bytes());
    digest.update(&[0]);
    digest.update(&rest.encode_to_vec());
    Some(Box::new(Request {
        id: id.to_owned(),
        tenant: department.tenant.0,
        subject: admission.principal().subject.clone(),
        digest: bytes::Bytes::copy_from_slice(digest.finish().as_ref()),
    }))
}

/// What a caller says of a queue, without what only the server says, which is no part of a request.
pub(super) fn asked_for(queue: &Queue) -> Queue {
    Queue {
        name: queue.name.clone(),
        max_message_bytes: queue.max_message_bytes,
        default_subscription: queue.default_subscription.clone(),
        ..Queue::default()
    }
}

/// The same of a queue that is to be made: what is left out is as if its default was asked for, since the answer tells of that, and a
/// caller may repeat the request with the queue that it was answered.
pub(super) fn to_be_made(name: &QueueResource, queue: &Queue) -> Queue {
    // What cannot be made is refused later, if the request is not told apart by its id.
    let Ok(settings) = settings(name, queue) else { return asked_for(queue) };
    asked_for(&convert::queue(name, &unmade(name, settings.with_defaults())))
}

/// Asks the shard of a department.
pub(super) async fn known(
    context: &Context,
    department: Department,
    queue: &QueueName,
    request: Option<&Request>,
    change: Change,
) -> Result<Known, ApiError> {
    let (id, name, request) = (department.id, queue.as_str().to_owned(), request.cloned());
    let read = context.shards.query(department.origin(), move |m, kv| {
        let told = match &request {
            Some(request) => m.requested(kv, id, request, change)?,
            None => None,
        };
        Ok::<_, posthouse_engine::halt::Halt>(Known { told, queue: m.queue_by_name(kv, id, &name)? })
    });
    Ok(read.await??)
}

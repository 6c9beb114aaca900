//! Lists a department's queues in pages.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_engine::{kv::Kv, machine::ShardMachine, outcome::QueueView};
use posthouse_proto::v1::{ErrorReason, ListQueuesResponse};

use crate::{
    grants::QueuesGranted,
    limits,
    names::QueueName,
    policy::{Filter, methods},
    rpc::{
        context::{Context, Department},
        wire::{convert, status::ApiError},
    },
};

/// A page of the queues of a department that the caller has a grant for. Its cost depends on the queues that it returns
/// and not on the others: where the grants name queues, those are looked up by name.
pub(super) async fn page(
    context: &Context,
    shown: &Filter<methods::Listing>,
    department: Department,
    after: String,
    size: usize,
) -> Result<ListQueuesResponse, ApiError> {
    let id = department.id;
    let queues = match shown.queues().clone() {
        QueuesGranted::Every => {
            let list = move |m: &mut ShardMachine, kv: &dyn Kv| m.list_queues(kv, id, &after, size);
            context.shards.query(department.origin(), list).await??
        }
        QueuesGranted::Named(names) => {
            let find = move |m: &mut ShardMachine, kv: &dyn Kv| {
                let asked = names.iter().map(QueueName::as_str).filter(|name| *name > after.as_str());
                m.find_queues(kv, id, asked, size)
            };
            context.shards.query(department.origin(), find).await??
        }
    };
    let full = queues.last().filter(|_| queues.len() == size);
    let next_page_token = full.map(|last| BASE64_URL_SAFE_NO_PAD.encode(&last.name)).unwrap_or_default();
    let parent = shown.department();
    let queue = |view: &QueueView| Ok(convert::queue(&parent.queue(QueueName::parse(&view.name)?), view));
    let queues = queues.iter().map(queue).collect::<Result<_, ApiError>>()?;
    Ok(ListQueuesResponse { queues, next_page_token })
}

/// The name after which the page of this token begins.
pub(super) fn page_start(page_token: &str) -> Result<String, ApiError> {
    let decoded =
        BASE64_URL_SAFE_NO_PAD.decode(page_token).ok().and_then(|name| String::from_utf8(name).ok());
    let known = decoded.filter(|name| name.is_empty() || QueueName::parse(name).is_ok());
    let text = "this page_token was not given out by ListQueues; begin again without one".to_owned();
    known.ok_or_else(|| ApiError::field(ErrorReason::PageTokenInvalid, "page_token", text))
}

/// The size of a page that a request asks for; 0 is the default.
pub(super) fn page_size(page_size: i32) -> Result<usize, ApiError> {
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

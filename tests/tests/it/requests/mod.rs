//! Changes with a request id are made once, however often they are asked for.

use posthouse_proto::v1::{self, Queue, SubscriptionSettings};
use posthouse_tests::harness::{
    site::{CIVIL, Site},
    wire::Caller,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

mod answers;
mod lost_answers;
mod rights;

const REUSED: (Code, &str) = (Code::InvalidArgument, "REQUEST_ID_REUSED");

async fn create(caller: &Caller, name: &str, attempts: u32, id: &str) -> Result<Queue, Status> {
    let settings = SubscriptionSettings { max_attempts: attempts, ..SubscriptionSettings::default() };
    let queue = Queue { name: name.to_owned(), default_subscription: Some(settings), ..Queue::default() };
    let request =
        v1::CreateQueueRequest { queue: Some(queue), request_id: id.to_owned(), validate_only: false };
    Ok(caller.queues().create_queue(caller.request(request)).await?.into_inner())
}

fn update_of(name: &str, attempts: u32, etag: &str, id: &str) -> v1::UpdateQueueRequest {
    let settings = SubscriptionSettings { max_attempts: attempts, ..SubscriptionSettings::default() };
    let (name, etag) = (name.to_owned(), etag.to_owned());
    let queue = Queue { name, etag, default_subscription: Some(settings), ..Queue::default() };
    v1::UpdateQueueRequest {
        queue: Some(queue),
        update_mask: Some(FieldMask { paths: vec!["default_subscription.max_attempts".to_owned()] }),
        request_id: id.to_owned(),
        validate_only: false,
    }
}

async fn update(caller: &Caller, request: v1::UpdateQueueRequest) -> Result<Queue, Status> {
    Ok(caller.queues().update_queue(caller.request(request)).await?.into_inner())
}

async fn delete(caller: &Caller, name: &str, etag: &str, id: &str) -> Result<(), Status> {
    let (name, etag, request_id) = (name.to_owned(), etag.to_owned(), id.to_owned());
    let request = v1::DeleteQueueRequest { name, etag, request_id, validate_only: false };
    caller.queues().delete_queue(caller.request(request)).await.map(drop)
}

async fn purge(caller: &Caller, name: &str, id: &str) -> Result<u64, Status> {
    let (name, request_id) = (name.to_owned(), id.to_owned());
    let request = v1::PurgeQueueRequest { name, request_id, validate_only: false };
    Ok(caller.queues().purge_queue(caller.request(request)).await?.into_inner().purged)
}

async fn redrive(
    caller: &Caller,
    queue: &str,
    max: u32,
    id: &str,
) -> Result<v1::RedriveDeadLettersResponse, Status> {
    let request = v1::RedriveDeadLettersRequest {
        queue: queue.to_owned(),
        max_messages: max,
        request_id: id.to_owned(),
        ..v1::RedriveDeadLettersRequest::default()
    };
    Ok(caller.messages().redrive_dead_letters(caller.request(request)).await?.into_inner())
}

/// A caller of the tenant [`CIVIL`] with another subject.
async fn another(site: &Site) -> Caller {
    let mut credentials = site.credentials(CIVIL);
    let mut claims = site.claims(CIVIL, &credentials.certificate);
    claims.sub = "somebody else".to_owned();
    credentials.token = site.mint(CIVIL, &claims);
    Caller::connect(site, &credentials).await
}

//! Reads the dead letters of a queue.

use posthouse_engine::{ids::SubscriptionRef, machine::DeadLetters};

use crate::{
    names::{QueueResource, SubscriptionName, SubscriptionResource},
    rpc::{
        context::{Context, FoundQueue},
        wire::status::ApiError,
    },
};

/// The subscription whose dead letters a queue's name stands for.
pub(super) fn default_subscription(queue: &QueueResource) -> SubscriptionResource {
    queue.subscription(SubscriptionName::default_subscription())
}

/// Reads some dead letters, from a sequence on; bounded by what one read may cost.
pub(super) async fn read(
    context: &Context,
    queue: &FoundQueue,
    id: SubscriptionRef,
    from: u64,
    limit: usize,
) -> Result<DeadLetters, ApiError> {
    let read =
        context.shards.query(queue.department.origin(), move |m, kv| m.dead_letters(kv, id, from, limit));
    // The queue may have been deleted meanwhile: then there are none.
    let nothing = DeadLetters { found: Vec::new(), next: None };
    Ok(read.await??.unwrap_or(nothing))
}

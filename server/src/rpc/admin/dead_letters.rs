//! Reads the dead letters of a queue.

use posthouse_engine::{ids::SubscriptionRef, machine::DeadLetters};

use crate::{
    names::{QueueResource, SubscriptionName, SubscriptionResource},
    rpc::{
        context::{Context, FoundQueue},
        wire::status::ApiError,
    },
};

/// The subscription whose dead letters a request means when it names only the queue.
pub(super) fn default_subscription(queue: &QueueResource) -> SubscriptionResource {
    queue.subscription(SubscriptionName::default_subscription())
}

/// Reads at most `limit` dead letters from a sequence on; fewer if the read would cost the engine too much.
pub(super) async fn read(
    context: &Context,
    queue: &FoundQueue,
    id: SubscriptionRef,
    from: u64,
    limit: usize,
) -> Result<DeadLetters, ApiError> {
    let read =
        context.shards.query(queue.department.origin(), move |m, kv| m.dead_letters(kv, id, from, limit));
    // A queue that was deleted meanwhile has none.
    let nothing = DeadLetters { found: Vec::new(), next: None };
    Ok(read.await??.unwrap_or(nothing))
}

//! Requests that are sent before anybody waits for their answer.

use futures_util::future::{BoxFuture, poll_immediate, ready};
use tokio::task::coop::unconstrained;

/// Sends a request of a client library that sends on the first poll, and returns the future of its answer. The
/// library's own task reads the answer meanwhile, so that consecutive requests are sent in order.
pub async fn hand_over<T: Send + 'static>(
    request: impl Future<Output = T> + Send + 'static,
) -> BoxFuture<'static, T> {
    // Unconstrained: a task whose coop budget is used up would not send on this poll.
    let mut request: BoxFuture<'static, T> = Box::pin(unconstrained(request));
    match poll_immediate(&mut request).await {
        Some(answer) => Box::pin(ready(answer)),
        None => request,
    }
}

//! Requests on their way before anybody waits for their answer.

use futures_util::future::{BoxFuture, poll_immediate, ready};
use tokio::task::coop::unconstrained;

/// Sends a request of a client library that sends on the first poll, and returns what waits for the answer. The library's
/// own task reads the answer meanwhile, so requests handed over one after the other leave in that order.
pub async fn hand_over<T: Send + 'static>(
    request: impl Future<Output = T> + Send + 'static,
) -> BoxFuture<'static, T> {
    // Unconstrained: a task whose budget is used up would otherwise send nothing on this poll.
    let mut request: BoxFuture<'static, T> = Box::pin(unconstrained(request));
    match poll_immediate(&mut request).await {
        Some(answer) => Box::pin(ready(answer)),
        None => request,
    }
}

//! Starts futures in the order in which a connection has to send them.

use std::{
    future::{poll_fn, ready},
    task::Poll,
};

use anyhow::Result;
use futures_util::FutureExt as _;

use super::Confirmation;

/// Polls a future once, so that the client library accepts its request.
pub async fn begin<F: Future + Unpin>(work: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(work.poll_unpin(context))).await
}

/// Polls a future once and returns it; it may be complete already.
pub async fn begun(mut work: Confirmation) -> Result<Confirmation> {
    match begin(&mut work).await {
        Poll::Ready(result) => Ok(ready(result).boxed()),
        Poll::Pending => Ok(work),
    }
}

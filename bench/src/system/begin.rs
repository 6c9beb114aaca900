//! Work that keeps its place in the order of what a connection sends.

use std::{
    future::{poll_fn, ready},
    task::Poll,
};

use anyhow::Result;
use futures_util::FutureExt as _;

use super::Confirmation;

/// Polls it once, so that a client library has taken it in.
pub async fn begin<F: Future + Unpin>(work: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(work.poll_unpin(context))).await
}

/// Begins it and hands it over; it may have ended already.
pub async fn begun(mut work: Confirmation) -> Result<Confirmation> {
    match begin(&mut work).await {
        Poll::Ready(result) => Ok(ready(result).boxed()),
        Poll::Pending => Ok(work),
    }
}

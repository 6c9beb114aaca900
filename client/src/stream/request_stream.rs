use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::mpsc;
use tokio_stream::Stream;

/// The requests of one stream. It ends with the first `None`. A dropped sender does not end it, because the server
/// would treat that as an end in order, and release the leases that the next stream resumes; dropping the connection
/// breaks the stream instead.
pub(crate) struct RequestStream<T>(mpsc::Receiver<Option<T>>);

impl<T> RequestStream<T> {
    pub(super) fn new(requests: mpsc::Receiver<Option<T>>) -> Self {
        Self(requests)
    }
}

impl<T> Stream for RequestStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(request)) => Poll::Ready(request),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

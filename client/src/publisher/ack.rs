use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::PublishError;

/// A message that is on the server's disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its id, if the server told it: it does for the first of a batch.
    pub message_id: Option<String>,
    /// Its position in the queue. Absent only for a message that an early attempt had stored long ago.
    pub sequence: Option<u64>,
    /// An earlier attempt of this publisher had stored it; it stands in the queue once.
    pub duplicate: bool,
}

/// The server's answer to one message, to be awaited. The message was handed over when this was made: dropping this
/// only forgoes the answer.
#[derive(Debug)]
#[must_use = "await it to know that the message is stored, or drop it and flush later"]
pub struct PublishAck(pub(super) oneshot::Receiver<Result<Stored, PublishError>>);

impl Future for PublishAck {
    type Output = Result<Stored, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(PublishError::Closed)))
    }
}

//! The server's half of a stream. Frames wait here for a client that reads slowly, so that the stream's task does not:
//! it must still see its token expire, and the server drain.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use posthouse_proto::v1::ErrorReason;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::status::ApiError;

/// Frames handed to the network; beyond, they wait in the outlet.
const MAX_FRAMES_OUT: usize = 4;
/// How long a client of a stream that ends may read nothing while answers wait for it.
const UNREAD: Duration = Duration::from_secs(5);

/// The client has gone away.
#[derive(Debug)]
pub(crate) struct Gone;

/// Where a stream's task puts its frames.
pub(crate) struct Outlet<F> {
    frames: mpsc::Sender<F>,
    waiting: VecDeque<F>,
    end: oneshot::Sender<ApiError>,
    sent_at: Instant,
}

/// An outlet, and what comes out of it: the frames, then the error it ended with, if any.
pub(crate) fn outlet<F: Send + 'static>()
-> (Outlet<F>, impl Stream<Item = Result<F, Status>> + Send + 'static) {
    let (frames, out) = mpsc::channel(MAX_FRAMES_OUT);
    let (end, ended) = oneshot::channel::<ApiError>();
    let ended = ended.map(|error| stream::iter(error.ok().map(|error| Err(error.into()))));
    let out = ReceiverStream::new(out).map(Ok).chain(ended.flatten_stream());
    (Outlet { frames, waiting: VecDeque::new(), end, sent_at: Instant::now() }, out)
}

impl<F> Outlet<F> {
    /// Sends a frame as soon as the client reads it.
    pub(crate) fn send(&mut self, frame: F) {
        self.sent_at = Instant::now();
        self.waiting.push_back(frame);
        self.pass();
    }

    /// How many frames the network does not take yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the client has gone away.
    pub(crate) fn is_gone(&self) -> bool {
        self.frames.is_closed()
    }

    /// Returns when the client has gone away.
    pub(crate) async fn gone(&self) -> Gone {
        self.frames.closed().await;
        Gone
    }

    /// How long nothing was sent.
    pub(crate) fn silence(&self) -> Duration {
        self.sent_at.elapsed()
    }

    /// Keeps only some of what waits.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&F) -> bool) {
        self.waiting.retain(keep);
    }

    /// Returns when something that waited has been passed on, or the client has gone away.
    pub(crate) async fn flow(&mut self) -> Result<(), Gone> {
        if self.waiting.is_empty() {
            return Err(self.gone().await);
        }
        drop(self.frames.reserve().await.map_err(|_| Gone)?);
        // This is the only sender, so the place is still free.
        self.pass();
        Ok(())
    }

    /// Sends the answers that are still due and what waits, as long as the client reads. The first answer that is an
    /// error ends it.
    pub(crate) async fn finish(
        &mut self,
        mut answers: impl Stream<Item = Result<F, ApiError>> + Unpin,
    ) -> Result<(), ApiError> {
        while !self.is_gone() {
            let waits = !self.waiting.is_empty();
            tokio::select! {
                Some(answer) = answers.next() => self.send(answer?),
                flowed = tokio::time::timeout(UNREAD, self.flow()), if waits => {
                    if flowed.is_err() {
                        let text = "the stream has ended, and its last answers were not read";
                        return Err(ApiError::new(Code::FailedPrecondition, ErrorReason::StreamIdle, text));
                    }
                }
                else => break,
            }
        }
        Ok(())
    }

    /// Ends the stream, after the frames that the network has taken.
    pub(crate) fn end(self, result: Result<(), ApiError>) {
        if let Err(error) = result {
            // A client that has gone away needs no answer.
            drop(self.end.send(error));
        }
    }

    fn pass(&mut self) {
        use mpsc::error::TrySendError::{Closed, Full};
        while let Some(frame) = self.waiting.pop_front() {
            if let Err(Full(frame) | Closed(frame)) = self.frames.try_send(frame) {
                return self.waiting.push_front(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_nobody_up_and_still_gets_the_end() {
        let (mut outlet, out) = outlet::<u32>();
        (0..100).for_each(|frame| outlet.send(frame));
        assert_eq!(outlet.waiting(), 100 - MAX_FRAMES_OUT);
        outlet.retain(|frame| frame % 2 == 0);
        outlet.end(Err(ApiError::new(Code::Unauthenticated, ErrorReason::TokenExpired, "expired")));
        let received: Vec<_> = out.collect().await;
        let (last, frames) = received.split_last().unwrap();
        let frames: Vec<_> = frames.iter().map(|frame| *frame.as_ref().unwrap()).collect();
        assert_eq!(frames, (0..MAX_FRAMES_OUT as u32).collect::<Vec<_>>());
        assert_eq!(last.as_ref().unwrap_err().code(), Code::Unauthenticated);
    }

    #[tokio::test]
    async fn frames_come_in_order_and_a_clean_end_has_no_error() {
        let (mut outlet, out) = outlet::<u32>();
        let reading = tokio::spawn(out.map(Result::unwrap).collect::<Vec<_>>());
        (0..50).for_each(|frame| outlet.send(frame));
        outlet.finish(stream::iter((50..60).map(Ok))).await.unwrap();
        outlet.end(Ok(()));
        assert_eq!(reading.await.unwrap(), (0..60).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_client_that_has_gone_is_noticed() {
        let (mut outlet, out) = outlet::<u32>();
        (0..50).for_each(|frame| outlet.send(frame));
        drop(out);
        assert!(outlet.flow().await.is_err());
        outlet.finish(stream::pending::<Result<u32, ApiError>>()).await.unwrap();
    }
}

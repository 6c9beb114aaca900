//! The body of a request, as it is below the libraries: how it ended.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming};
use thiserror::Error;

use super::unread::{Reading, Unread};

/// A request's body. It ends where the client has ended it, or with an error: the HTTP library treats some resets as an
/// end, and the gRPC library treats others so, although a part of the request may be missing.
pub struct Received<B: HttpBody<Data = Bytes> + Unpin = Incoming> {
    body: B,
    reading: Reading,
}

/// The client has reset the stream of its call, or its connection is lost, before the request's end.
#[derive(Debug, Error)]
#[error("the client has broken its request off")]
pub struct BrokenOff;

impl<B: HttpBody<Data = Bytes> + Unpin> Received<B> {
    pub(super) fn new(body: B, unread: &Unread) -> Self {
        Self { body, reading: unread.body() }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(body: B) -> Self {
        Self::new(body, &Unread::of_window(1 << 20))
    }

    /// The body's next frame, which is counted out.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.reading.consumed(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> std::fmt::Debug for Received<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Drop for Received<B> {
    fn drop(&mut self) {
        // Charges of data that is not read any more are released, too.
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(_))) = self.poll_body(&mut context) {}
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Received<B> {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            match ready!(self.poll_body(context)) {
                Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
                // A request of gRPC has no trailers, and the library would treat the data before them as a whole
                // request.
                Some(Ok(_)) => {}
                // A stream of HTTP/2 on which END_STREAM has arrived, and nothing is left to read.
                None if self.body.is_end_stream() => return Poll::Ready(None),
                None | Some(Err(_)) => return Poll::Ready(Some(Err(BrokenOff))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt as _;
    use http::HeaderMap;
    use http_body_util::BodyExt as _;
    use tonic::Status;

    use super::*;

    /// Frames, then an end that is real or only seems to be.
    struct Scripted {
        frames: VecDeque<Result<Frame<Bytes>, Status>>,
        whole: bool,
    }

    impl HttpBody for Scripted {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.frames.pop_front())
        }

        fn is_end_stream(&self) -> bool {
            self.whole && self.frames.is_empty()
        }
    }

    /// The data of a request, and whether it ended well.
    fn received(
        frames: impl IntoIterator<Item = Result<Frame<Bytes>, Status>>,
        whole: bool,
    ) -> (Bytes, bool) {
        let scripted = Scripted { frames: frames.into_iter().collect(), whole };
        let mut body = Received::new(scripted, &Unread::of_window(1 << 20));
        let mut data = Vec::new();
        loop {
            match body.frame().now_or_never().unwrap() {
                Some(Ok(frame)) => data.extend(frame.into_data().unwrap()),
                Some(Err(BrokenOff)) => return (data.into(), false),
                None => return (data.into(), true),
            }
        }
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn what_a_body_holds_when_it_is_dropped_is_counted_out() {
        let unread = Unread::of_window(1 << 20);
        let _other = unread.body();
        let frames = [data("a"), data("b"), data("c"), Ok(Frame::trailers(HeaderMap::new()))];
        let mut body = Received::new(Scripted { frames: frames.into(), whole: true }, &unread);
        unread.arrived(3);
        assert!(body.frame().now_or_never().unwrap().is_some());
        assert_eq!(unread.frames(), 2);
        drop(body);
        assert_eq!(unread.frames(), 0);
    }

    #[test]
    fn a_request_ends_well_only_where_its_client_has_ended_it() {
        assert_eq!(received([data("a"), data("b")], true), ("ab".into(), true));
        assert_eq!(received([], true), ("".into(), true));
        // A reset that the HTTP library treats as an end.
        assert_eq!(received([data("a")], false), ("a".into(), false));
        // A reset that the gRPC library treats as an end.
        assert_eq!(received([data("a"), Err(Status::cancelled("reset"))], false), ("a".into(), false));
        // And trailers, after which it asks for nothing more.
        assert_eq!(received([data("a"), Ok(Frame::trailers(HeaderMap::new()))], true), ("a".into(), true));
        assert_eq!(received([data("a"), Ok(Frame::trailers(HeaderMap::new()))], false), ("a".into(), false));
    }
}

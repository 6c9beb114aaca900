//! The body of a request, as it is below the libraries: how it ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming};
use thiserror::Error;

/// A request's body. It ends where the client has ended it, or with an error: the HTTP library takes some resets for an end,
/// and the gRPC library takes others, although what was to come may be missing.
#[derive(Debug)]
pub struct Received<B = Incoming>(B);

/// The client has reset the stream of its call, or its connection is gone, before the request's end.
#[derive(Debug, Error)]
#[error("the client has broken its request off")]
pub struct BrokenOff;

impl<B> Received<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(body)
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
            match ready!(Pin::new(&mut self.0).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
                // A request of gRPC has no trailers, and the library would take what is before them for whole.
                Some(Ok(_)) => {}
                // Of a stream of HTTP/2: END_STREAM has come, and nothing is left.
                None if self.0.is_end_stream() => return Poll::Ready(None),
                None | Some(Err(_)) => return Poll::Ready(Some(Err(BrokenOff))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
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

    /// Frames, and then an end that is one or only looks like one.
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
        let mut body = Received::new(Scripted { frames: frames.into_iter().collect(), whole });
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
    fn a_request_ends_well_only_where_its_client_has_ended_it() {
        assert_eq!(received([data("a"), data("b")], true), ("ab".into(), true));
        assert_eq!(received([], true), ("".into(), true));
        // A reset that the HTTP library takes for an end.
        assert_eq!(received([data("a")], false), ("a".into(), false));
        // One that the gRPC library takes for an end.
        assert_eq!(received([data("a"), Err(Status::cancelled("reset"))], false), ("a".into(), false));
        // And trailers, after which it asks for nothing more.
        assert_eq!(received([data("a"), Ok(Frame::trailers(HeaderMap::new()))], true), ("a".into(), true));
        assert_eq!(received([data("a"), Ok(Frame::trailers(HeaderMap::new()))], false), ("a".into(), false));
    }
}

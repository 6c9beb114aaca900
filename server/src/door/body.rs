//! The bodies of calls, as they are below the gRPC library: how a request ended, and whether an answer was taken.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use thiserror::Error;
use tonic::{Status, body::Body};

/// Of an answer that is worth nothing without its end, so much is handed to the network at once: it asks for more when the
/// client's window has room, so that the end is asked for when the client can have all but a piece.
const PIECE_BYTES: usize = 16 << 10;

/// A request's body. It ends where the client has ended it, or with an error: the HTTP library takes some resets for an end,
/// and the gRPC library takes others, although what was to come may be missing.
pub(super) struct Received<B = Incoming>(B);

/// The client has reset the stream of its call, or its connection is gone, before the request's end.
#[derive(Debug, Error)]
#[error("the client has broken its request off")]
pub(super) struct BrokenOff;

impl<B> Received<B> {
    pub(super) fn new(body: B) -> Self {
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

/// In a response's extensions: what to do once the network has taken the whole answer, and before the client can see its end.
/// It is dropped instead if the client goes away before, so that it cannot have the answer's end.
#[derive(Clone)]
pub struct OnceTaken {
    act: Arc<Mutex<Option<Act>>>,
    in_pieces: bool,
}

type Act = Box<dyn FnOnce() + Send>;

impl OnceTaken {
    /// Of a single message, which may be large.
    pub fn message(act: impl FnOnce() + Send + 'static) -> Self {
        Self { act: Arc::new(Mutex::new(Some(Box::new(act)))), in_pieces: true }
    }

    /// Of a stream.
    pub fn stream(act: impl FnOnce() + Send + 'static) -> Self {
        Self { in_pieces: false, ..Self::message(act) }
    }

    fn taken(&self) {
        let act = self.act.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(act) = act {
            act();
        }
    }

    /// Watches over a response that asks for it.
    pub(super) fn watch(mut response: Response<Body>) -> Response<Body> {
        match response.extensions_mut().remove::<Self>() {
            Some(once) => response.map(|body| Body::new(Answer { body, rest: Bytes::new(), once })),
            None => response,
        }
    }
}

/// An answer's body whose end matters.
struct Answer {
    body: Body,
    /// Data that is not handed on yet.
    rest: Bytes,
    once: OnceTaken,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => {
                        self.once.taken();
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                },
                None => {
                    self.once.taken();
                    return Poll::Ready(None);
                }
                failed => return Poll::Ready(failed),
            }
        }
        let most = if self.once.in_pieces { PIECE_BYTES } else { usize::MAX };
        let piece = self.rest.len().min(most);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        // Only what is asked for at the end is known to be taken.
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt as _;
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, Full};
    use tokio::sync::oneshot;

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

    #[test]
    fn an_answer_is_taken_when_the_network_asks_for_what_is_after_it() {
        let answer = Bytes::from(vec![7; 2 * PIECE_BYTES + 1]);
        let watched = |in_pieces| {
            let (act, mut acted) = oneshot::channel();
            let mut response = Response::new(Body::new(Full::new(answer.clone())));
            let act = || act.send(()).unwrap();
            let once = if in_pieces { OnceTaken::message(act) } else { OnceTaken::stream(act) };
            response.extensions_mut().insert(once);
            let response = OnceTaken::watch(response);
            assert!(response.extensions().is_empty() && acted.try_recv().is_err());
            (response.into_body(), acted)
        };
        for (in_pieces, pieces) in [(true, 3), (false, 1)] {
            let (mut body, mut acted) = watched(in_pieces);
            let mut data = Vec::new();
            for _ in 0..pieces {
                assert!(acted.try_recv().is_err());
                data.extend(body.frame().now_or_never().unwrap().unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(data, answer);
            assert!(body.frame().now_or_never().unwrap().is_none());
            assert!(acted.try_recv().is_ok());
        }
        let (mut body, mut acted) = watched(true);
        assert!(body.frame().now_or_never().unwrap().is_some());
        drop(body);
        assert_eq!(acted.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}

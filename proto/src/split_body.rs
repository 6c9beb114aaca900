use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};

/// The prefix of a gRPC message: a byte that says whether it is compressed, and its length as a big-endian `u32`.
const PREFIX_BYTES: usize = 5;

/// Pieces returned before this yields to other tasks: a peer may send nothing but empty messages.
const MAX_PIECES_PER_POLL: usize = 256;

/// A gRPC body that returns the prefix of each message as a piece of its own. tonic allocates the buffer of a message
/// when it has read the prefix, and copies what followed in the same piece: a whole batch, if it fits one HTTP/2 frame.
/// This body copies nothing.
#[derive(Debug)]
pub struct SplitBody<B> {
    body: B,
    /// Data that was received and is not returned yet.
    data: Bytes,
    next: Next,
    /// Pieces returned since this last yielded to other tasks.
    pieces: usize,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// A prefix, and how many of its bytes are known.
    Prefix([u8; PREFIX_BYTES], usize),
    /// A message, and how many of its bytes are still to come.
    Message(usize),
}

/// Splits the body of a response.
#[must_use]
pub fn split_body(response: Response<tonic::body::Body>) -> Response<tonic::body::Body> {
    response.map(|body| tonic::body::Body::new(SplitBody::new(body)))
}

/// Former name of [`SplitBody`].
#[deprecated(since = "0.1.0", note = "renamed to `SplitBody`")]
pub type Parted<B> = SplitBody<B>;

/// Former name of [`split_body`].
#[deprecated(since = "0.1.0", note = "renamed to `split_body`")]
#[must_use]
pub fn parted(response: Response<tonic::body::Body>) -> Response<tonic::body::Body> {
    split_body(response)
}

impl<B> SplitBody<B> {
    /// Splits a body.
    pub fn new(body: B) -> Self {
        Self { body, data: Bytes::new(), next: Next::after(0), pieces: 0 }
    }

    /// Removes the next piece of the received data, which must not be empty.
    fn piece(&mut self) -> Bytes {
        match self.next {
            Next::Prefix(mut prefix, known) => {
                let piece = self.data.split_to(self.data.len().min(PREFIX_BYTES - known));
                let until = known + piece.len();
                prefix[known..until].copy_from_slice(&piece);
                let [_, length @ ..] = prefix;
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.next =
                    if until < PREFIX_BYTES { Next::Prefix(prefix, until) } else { Next::after(length) };
                piece
            }
            Next::Message(left) => {
                let piece = self.data.split_to(self.data.len().min(left));
                self.next = Next::after(left - piece.len());
                piece
            }
        }
    }
}

impl Next {
    /// What follows, if a message has this many bytes left.
    fn after(left: usize) -> Self {
        if left == 0 { Self::Prefix([0; PREFIX_BYTES], 0) } else { Self::Message(left) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for SplitBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.pieces == MAX_PIECES_PER_POLL {
            self.pieces = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.data.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.data = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        self.pieces += 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    /// Data as the network may split it, and trailers.
    #[derive(Debug)]
    struct Cut(VecDeque<Frame<Bytes>>);

    impl Body for Cut {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    /// The encoded messages of these lengths.
    fn encoded(lengths: &[usize]) -> Vec<u8> {
        let message = |(number, length): (usize, &usize)| {
            let mut bytes = vec![0];
            bytes.extend(u32::try_from(*length).unwrap().to_be_bytes());
            bytes.resize(PREFIX_BYTES + length, u8::try_from(number % 251).unwrap());
            bytes
        };
        lengths.iter().enumerate().flat_map(message).collect()
    }

    /// The pieces, whether trailers were received, and how often the body yielded.
    fn pieces(mut body: SplitBody<Cut>) -> (Vec<Bytes>, bool, usize) {
        let (mut pieces, mut trailers, mut yields) = (Vec::new(), false, 0);
        loop {
            assert!(!trailers || body.is_end_stream());
            assert!(body.data.is_empty() || !body.is_end_stream());
            match body.frame().now_or_never() {
                None => yields += 1,
                Some(None) => return (pieces, trailers, yields),
                Some(Some(frame)) => match frame.unwrap().into_data() {
                    Ok(piece) => pieces.push(piece),
                    Err(frame) => trailers = frame.is_trailers(),
                },
            }
        }
    }

    #[test]
    fn many_small_messages_yield_to_other_tasks() {
        let bytes = Bytes::from(encoded(&[0; 10_000]));
        let (pieces, _, yields) = pieces(SplitBody::new(Cut([Frame::data(bytes.clone())].into())));
        assert_eq!(pieces.concat(), bytes);
        assert_eq!(yields, pieces.len() / MAX_PIECES_PER_POLL);
    }

    proptest! {
        #[test]
        fn pieces_are_slices_of_the_input_and_end_with_each_prefix_and_message(
            lengths in prop::collection::vec(prop_oneof![0..4_usize, 0..300_usize], 0..8),
            cuts in prop::collection::vec(prop_oneof![0..7_usize, 0..400_usize], 1..40),
            broken_off in prop::option::of(0..500_usize),
        ) {
            let mut bytes = Bytes::from(encoded(&lengths));
            bytes.truncate(broken_off.unwrap_or(bytes.len()));
            let mut rest = bytes.clone();
            let mut frames: VecDeque<_> =
                cuts.iter().map(|cut| Frame::data(rest.split_to(rest.len().min(*cut)))).collect();
            frames.extend([Frame::data(rest), Frame::trailers(http::HeaderMap::new())]);
            let (pieces, trailers, _) = pieces(SplitBody::new(Cut(frames)));
            prop_assert!(trailers);
            prop_assert_eq!(pieces.concat(), &bytes[..]);
            let mut ends = vec![0];
            for piece in &pieces {
                let at = ends[ends.len() - 1];
                prop_assert!(!piece.is_empty());
                prop_assert_eq!(piece.as_ptr(), bytes[at..].as_ptr());
                ends.push(at + piece.len());
            }
            let parts = lengths.iter().flat_map(|length| [PREFIX_BYTES, *length]);
            let bounds = parts.scan(0, |at, part| {
                *at += part;
                Some(*at)
            });
            for bound in bounds.take_while(|bound| *bound <= bytes.len()) {
                prop_assert!(ends.contains(&bound), "{} in {:?}", bound, ends);
            }
        }
    }
}

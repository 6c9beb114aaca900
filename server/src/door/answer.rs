//! What the network has taken of an answer, as it is below the libraries: they hold data that a closed window does not let
//! through, and ask for more before it has left.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

/// Flag and length before a message of gRPC.
const PREFIX_BYTES: usize = 5;

/// In a response's extensions: what follows when the network takes the answer. It takes what the client's windows let through,
/// and no more. What it has not taken when the client goes away is dropped without being told.
#[derive(Clone)]
pub struct Departure(Arc<Mutex<Way>>);

/// A message of an answer on its way out.
pub trait Departing: Send {
    /// Its first byte has been taken.
    fn begun(&mut self);
    /// All of it has been taken.
    fn left(self: Box<Self>);
}

type Act = Box<dyn FnOnce() + Send>;

/// How far an answer has come. Bytes are counted from its beginning.
#[derive(Default)]
struct Way {
    /// Messages that are not handed over yet, in their order; `None` for one that nobody watches.
    encoded: VecDeque<Option<Box<dyn Departing>>>,
    /// Messages that are handed over and have not left.
    leaving: VecDeque<Leaving>,
    handed_over: u64,
    taken: u64,
    /// What follows when all of it is taken, before the client can see the answer's end.
    at_end: Option<Act>,
    /// Who hands over the end once all before it is taken.
    waiting: Option<Waker>,
}

struct Leaving {
    start: u64,
    end: u64,
    begun: bool,
    message: Box<dyn Departing>,
}

impl Departure {
    /// A departure of an answer: `act` is done once all its data are written, before its trailers are.
    pub fn before_the_end(act: impl FnOnce() + Send + 'static) -> Self {
        let way = Way { at_end: Some(Box::new(act)), ..Way::default() };
        Self(Arc::new(Mutex::new(way)))
    }

    /// The next message of an answer that is a stream: to be told of each that is made, before the next is.
    pub fn message(&self, message: Option<Box<dyn Departing>>) {
        self.way().encoded.push_back(message);
    }

    /// The answer as it goes to the network, watched if it asks for it.
    pub(super) fn watch(mut response: Response<Body>) -> Response<Answer> {
        let departure = response.extensions_mut().remove::<Self>();
        response.map(|body| Answer { body, departure, end: None })
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end, if all before it has been taken.
    fn poll_end(&self, context: &Context<'_>) -> Poll<()> {
        let mut way = self.way();
        if way.taken < way.handed_over {
            way.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let act = way.at_end.take();
        drop(way);
        if let Some(act) = act {
            act();
        }
        Poll::Ready(())
    }
}

impl Way {
    /// Takes note of data that the HTTP library was given: whole messages of gRPC with their prefixes.
    fn hand_over(&mut self, data: &[u8]) {
        let whole = data.len();
        let mut at = 0;
        for message in self.encoded.drain(..) {
            let start = at;
            at = data.get(at..).and_then(message_len).map_or(whole, |len| (at + len).min(whole));
            if let Some(message) = message {
                let place = |at: usize| self.handed_over + at as u64;
                self.leaving.push_back(Leaving {
                    start: place(start),
                    end: place(at),
                    begun: false,
                    message,
                });
            }
        }
        self.handed_over += whole as u64;
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes as u64;
        while let Some(leaving) = self.leaving.pop_front_if(|leaving| leaving.end <= self.taken) {
            leaving.message.left();
        }
        if let Some(first) = self.leaving.front_mut()
            && first.start < self.taken
            && !first.begun
        {
            first.begun = true;
            first.message.begun();
        }
        if self.taken >= self.handed_over
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }
}

/// The length of the first message in the data, its prefix included.
fn message_len(data: &[u8]) -> Option<usize> {
    let mut length = data.get(1..PREFIX_BYTES)?;
    Some(PREFIX_BYTES + length.get_u32() as usize)
}

/// An answer's body.
pub(super) struct Answer {
    body: Body,
    departure: Option<Departure>,
    /// What comes once all data has been taken: trailers, or nothing.
    end: Option<Option<HeaderMap>>,
}

impl HttpBody for Answer {
    type Data = Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Status>>> {
        if self.end.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()?.map(Frame::into_data) {
                Some(Ok(bytes)) => {
                    if let Some(departure) = &self.departure {
                        departure.way().hand_over(&bytes);
                    }
                    let departure = self.departure.clone();
                    return Poll::Ready(Some(Ok(Frame::data(Data { bytes, departure }))));
                }
                Some(Err(last)) => self.end = Some(last.into_trailers().ok()),
                None => self.end = Some(None),
            }
        }
        if let Some(departure) = &self.departure {
            ready!(departure.poll_end(context));
        }
        Poll::Ready(self.end.take().flatten().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // Of what is watched, the end is asked for.
        self.departure.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // After its end, nothing is left here. Before, the client has gone away, and the libraries send no more of it, but may
        // hold what they were handed for as long as the connection is stuck.
        if let Some(departure) = &self.departure {
            // Whatever it does when it is dropped, it does not do it under the lock.
            let way = std::mem::take(&mut *departure.way());
            drop(way);
        }
    }
}

/// Data of an answer. HTTP/2 advances it when it writes the bytes of a frame, for which there was room in the windows of the
/// stream and of the connection.
pub(super) struct Data {
    bytes: Bytes,
    departure: Option<Departure>,
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(departure) = &self.departure {
            departure.way().take(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    /// Tells of a message by its number.
    struct Told(u32, mpsc::UnboundedSender<(u32, &'static str)>);

    impl Departing for Told {
        fn begun(&mut self) {
            self.1.send((self.0, "begun")).unwrap();
        }

        fn left(self: Box<Self>) {
            self.1.send((self.0, "left")).unwrap();
        }
    }

    /// A message of so many bytes, with its prefix.
    fn message(bytes: u32) -> Vec<u8> {
        [&[0][..], &bytes.to_be_bytes(), &vec![7; bytes as usize]].concat()
    }

    fn drain<T>(told: &mut mpsc::UnboundedReceiver<T>) -> Vec<T> {
        std::iter::from_fn(|| told.try_recv().ok()).collect()
    }

    #[test]
    fn a_message_has_begun_with_its_first_byte_and_left_with_its_last_and_the_end_comes_then() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let at_end = tell.clone();
        let departure = Departure::before_the_end(move || at_end.send((0, "end")).unwrap());
        let watched = departure.clone();
        // As the library does: what is made is handed over before more is made.
        let made = [&[(1, 10), (2, 0)][..], &[(3, 3)], &[]].into_iter().map(move |messages| {
            let mut bytes = Vec::new();
            for (number, size) in messages {
                watched.message(Some(Box::new(Told(*number, tell.clone()))));
                bytes.extend(message(*size));
            }
            let trailers = messages.is_empty();
            Ok::<_, Status>(if trailers {
                Frame::trailers(HeaderMap::new())
            } else {
                Frame::data(bytes.into())
            })
        });
        let body = Body::new(StreamBody::new(futures_util::stream::iter(made)));
        let mut response = Response::new(body);
        response.extensions_mut().insert(departure);
        let mut answer = Departure::watch(response).into_body();
        let mut data = || answer.frame().now_or_never().map(|frame| frame.unwrap().unwrap().into_data());
        let mut one = data().unwrap().ok().unwrap();
        let mut two = data().unwrap().ok().unwrap();
        // All is handed over, and nothing taken.
        assert!(data().is_none() && drain(&mut told).is_empty());
        one.advance(1);
        assert_eq!(drain(&mut told), [(1, "begun")]);
        one.advance(13);
        assert!(drain(&mut told).is_empty());
        one.advance(2);
        assert_eq!(drain(&mut told), [(1, "left"), (2, "begun")]);
        one.advance(one.remaining());
        assert_eq!(drain(&mut told), [(2, "left")]);
        two.advance(7);
        assert!(data().is_none());
        assert_eq!(drain(&mut told), [(3, "begun")]);
        two.advance(1);
        assert!(data().unwrap().is_err(), "the trailers come");
        assert_eq!(drain(&mut told), [(3, "left"), (0, "end")]);
    }

    #[test]
    fn what_was_not_taken_when_an_answer_is_dropped_is_dropped_untold_though_the_network_holds_it() {
        let (tell, mut told) = mpsc::unbounded_channel::<(u32, &'static str)>();
        let at_end = tell.clone();
        let departure = Departure::before_the_end(move || at_end.send((0, "end")).unwrap());
        departure.message(None);
        departure.message(Some(Box::new(Told(2, tell))));
        let both = Bytes::from([message(1), message(1)].concat());
        let mut response = Response::new(Body::new(Full::new(both)));
        response.extensions_mut().insert(departure);
        let mut answer = Departure::watch(response).into_body();
        let mut data = answer.frame().now_or_never().unwrap().unwrap().unwrap().into_data().ok().unwrap();
        data.advance(6);
        drop(answer);
        // Nobody can tell any more.
        assert_eq!(told.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        data.advance(6);
        assert_eq!(data.remaining(), 0);
    }
}

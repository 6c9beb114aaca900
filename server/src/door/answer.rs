//! What the network has taken of an answer, as it is below the libraries: they hold data that a closed window does not
//! let through, and ask for more before it has left. What they hold is charged to the connection's account.

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

use super::task::CallTask;
use crate::{
    account::{Account, Charge, ConnectionAccounts},
    limits::LITTLE_ANSWER_BYTES,
};

/// Flag and length before a message of gRPC.
const PREFIX_BYTES: usize = 5;

/// In a response's extensions: what follows when the network takes the answer. It takes what the client's windows let
/// through, and no more. What it has not taken when the client goes away is dropped without being told.
#[derive(Clone)]
pub struct SendTracker(Arc<Mutex<Progress>>);

/// A message of an answer on its way out.
pub trait OnSent: Send {
    /// Its first byte has been taken.
    fn begun(&mut self);
    /// All of it has been taken.
    fn left(self: Box<Self>);
}

/// In a response's extensions: all of the answer is known, and this is what it is charged to its account.
#[derive(Clone)]
pub(crate) struct ChargedAnswer(Arc<Mutex<Option<Charge>>>);

impl ChargedAnswer {
    pub(crate) fn new(charge: Charge) -> Self {
        Self(Arc::new(Mutex::new(Some(charge))))
    }

    /// The charge, once.
    pub(crate) fn take(&self) -> Option<Charge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

type Act = Box<dyn FnOnce() + Send>;

/// How far an answer has come. Bytes are counted from its beginning.
#[derive(Default)]
struct Progress {
    /// Messages that are not handed over yet, in their order; `None` for one that nobody watches.
    encoded: VecDeque<Option<Box<dyn OnSent>>>,
    /// What is handed over and has not left.
    unsent: VecDeque<Piece>,
    handed_over: u64,
    sent: u64,
    /// What is charged for a whole answer, until it is handed over.
    unread: Option<Charge>,
    /// The call it answers, and where what nobody watches is charged. Absent only before it goes to the network.
    call: Option<(CallTask, Account)>,
    /// What follows when all of it is taken, before the client can see the answer's end.
    at_end: Option<Act>,
    /// Who hands over the end once all before it is taken.
    waiting: Option<Waker>,
}

struct Piece {
    start: u64,
    end: u64,
    begun: bool,
    what: What,
}

/// What leaves.
enum What {
    /// A message that is watched, and charged by whoever watches it.
    Watched(Box<dyn OnSent>),
    /// Other data, until they have left.
    Unwatched(#[allow(dead_code, reason = "held, not read")] Charge),
}

impl SendTracker {
    /// A tracker of an answer: `act` is done once all its data are written, before its trailers are.
    pub fn before_end(act: impl FnOnce() + Send + 'static) -> Self {
        let progress = Progress { at_end: Some(Box::new(act)), ..Progress::default() };
        Self(Arc::new(Mutex::new(progress)))
    }

    /// The next message of an answer that is a stream: to be told of each that is made, before the next is.
    pub fn message(&self, message: Option<Box<dyn OnSent>>) {
        self.progress().encoded.push_back(message);
    }

    /// The answer of a call as it goes to the network, watched if it asks for it.
    pub(super) fn watch(
        mut response: Response<Body>,
        task: CallTask,
        accounts: &ConnectionAccounts,
    ) -> Response<Answer> {
        let extensions = response.extensions_mut();
        let tracker = extensions.remove::<Self>();
        let unread = extensions.remove::<ChargedAnswer>().and_then(|unread| unread.take());
        if let Some(charge) = &unread {
            task.answered(charge.bytes(), &accounts.requests, &accounts.counters.unread);
        }
        // The task of a call with a large answer stays until that is read: so it can be ended.
        let large = unread.as_ref().is_some_and(|charge| charge.bytes() > LITTLE_ANSWER_BYTES);
        let watched = tracker.is_some() || large;
        let tracker = tracker.unwrap_or_else(|| Self(Arc::default()));
        let mut progress = tracker.progress();
        progress.unread = unread;
        progress.call = Some((task, accounts.requests.clone()));
        drop(progress);
        response.map(|body| Answer { body, tracker, watched, end: None })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end, if all before it has been taken.
    fn poll_end(&self, context: &Context<'_>) -> Poll<()> {
        let mut progress = self.progress();
        if progress.sent < progress.handed_over {
            progress.waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let act = progress.at_end.take();
        drop(progress);
        if let Some(act) = act {
            act();
        }
        Poll::Ready(())
    }
}

impl Progress {
    /// Takes note of data that the HTTP library was given: whole messages of gRPC with their prefixes.
    fn hand_over(&mut self, data: &[u8]) {
        let (begin, end) = (self.handed_over, self.handed_over + data.len() as u64);
        self.handed_over = end;
        if self.encoded.is_empty() {
            return self.leave(begin, end, None);
        }
        let mut at = 0;
        for message in std::mem::take(&mut self.encoded) {
            let start = at;
            at = data.get(at..).and_then(message_len).map_or(data.len(), |len| (at + len).min(data.len()));
            self.leave(begin + start as u64, begin + at as u64, message);
        }
    }

    fn leave(&mut self, start: u64, end: u64, watched: Option<Box<dyn OnSent>>) {
        let charge = |call: &(CallTask, Account)| call.1.charge(usize::try_from(end - start).unwrap_or(0));
        let what = match watched {
            Some(message) => What::Watched(message),
            None => match self.unread.take().or_else(|| self.call.as_ref().map(charge)) {
                Some(charge) => What::Unwatched(charge),
                None => return,
            },
        };
        self.unsent.push_back(Piece { start, end, begun: false, what });
    }

    fn record_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        if let Some((task, _)) = &self.call {
            task.record_sent(bytes as u64);
        }
        while let Some(piece) = self.unsent.pop_front_if(|piece| piece.end <= self.sent) {
            if let What::Watched(message) = piece.what {
                message.left();
            }
        }
        if let Some(first) = self.unsent.front_mut()
            && first.start < self.sent
            && !first.begun
            && let What::Watched(message) = &mut first.what
        {
            first.begun = true;
            message.begun();
        }
        if self.sent >= self.handed_over
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
    tracker: SendTracker,
    /// Whether its end waits for its data to be taken.
    watched: bool,
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
                    self.tracker.progress().hand_over(&bytes);
                    let tracker = self.tracker.clone();
                    return Poll::Ready(Some(Ok(Frame::data(Data { bytes, tracker }))));
                }
                Some(Err(last)) => self.end = Some(last.into_trailers().ok()),
                None => self.end = Some(None),
            }
        }
        if self.watched {
            ready!(self.tracker.poll_end(context));
        }
        Poll::Ready(self.end.take().flatten().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // Of what is watched, the end is asked for.
        !self.watched && self.end.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // After its end, nothing is left here. Before, the client has gone away, and the libraries send no more of it,
        // but may hold what they were handed for as long as the connection is stuck. Whatever it does when it is
        // dropped, it does not do it under the lock. What nobody watches is charged as long as it is held.
        if self.watched {
            let progress = std::mem::take(&mut *self.tracker.progress());
            drop(progress);
        }
    }
}

/// Data of an answer. HTTP/2 advances it when it writes the bytes of a frame, for which there was room in the windows
/// of the stream and of the connection.
pub(super) struct Data {
    bytes: Bytes,
    tracker: SendTracker,
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
        self.tracker.progress().record_sent(count);
    }
}

#[cfg(test)]
mod tests;

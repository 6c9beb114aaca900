//! How many bytes of an answer have been written to the network, measured below the libraries: they hold data that a
//! closed window does not let through, and ask for more before it was written. The held bytes are charged to the
//! connection's account.

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

/// In a response's extensions: actions that follow when the answer's bytes are written. Only bytes that the client's
/// windows let through are written. If the client leaves before, the actions are dropped without being called.
#[derive(Clone)]
pub struct SendTracker(Arc<Mutex<Progress>>);

/// A message of an answer on its way out.
pub trait OnSent: Send {
    /// Its first byte was written.
    fn begun(&mut self);
    /// All of it was written.
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
    pub(crate) fn remove_charge(&self) -> Option<Charge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

type Act = Box<dyn FnOnce() + Send>;

/// How much of an answer was written. Bytes are counted from its beginning.
#[derive(Default)]
struct Progress {
    /// Messages that are not handed to the HTTP library yet, in order; `None` for one without an action.
    encoded: VecDeque<Option<Box<dyn OnSent>>>,
    /// Pieces that were handed over and are not written.
    unsent: VecDeque<Piece>,
    handed_over: u64,
    sent: u64,
    /// The charge of a whole answer, until it is handed over.
    unread: Option<Charge>,
    /// The call of the answer, and the account of the messages without an action. Absent only before the answer goes to
    /// the network.
    call: Option<(CallTask, Account)>,
    /// The action that follows when all of it is written, before the client can see the answer's end.
    at_end: Option<Act>,
    /// The waker of the task that hands over the end once everything before it is written.
    waiting: Option<Waker>,
}

struct Piece {
    start: u64,
    end: u64,
    begun: bool,
    what: What,
}

/// A piece of an answer.
enum What {
    /// A message with an action, which has a charge of its own.
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

    /// Announces the next message of an answer that is a stream, before it is encoded.
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
        let unread = extensions.remove::<ChargedAnswer>().and_then(|unread| unread.remove_charge());
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

    /// The end, if everything before it was written.
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
    /// Notes data that the HTTP library was given: whole messages of gRPC with their prefixes.
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
    /// Whether the end waits until the data is written.
    watched: bool,
    /// What follows when all data is written: trailers, or nothing.
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
        // After the end nothing is left here. Before it, the client has left: the libraries send no more of the answer,
        // but may hold its data as long as the connection is stuck. The actions are dropped outside the lock, since a
        // drop may do anything. Messages without an action stay charged as long as they are held.
        if self.watched {
            let progress = std::mem::take(&mut *self.tracker.progress());
            drop(progress);
        }
    }
}

/// Data of an answer. HTTP/2 advances it when it writes the bytes of a frame, which the windows of the stream and of
/// the connection have let through.
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

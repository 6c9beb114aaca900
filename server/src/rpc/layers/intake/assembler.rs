//! One message of gRPC after the other, out of a request's body as it comes: charged as its bytes arrive, with a deadline, and
//! in one piece when it is whole.
//!
//! The framing is Length-Prefixed-Message of "gRPC over HTTP/2": a byte that says whether it is compressed, the length as a
//! big-endian `u32`, the message.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::{
    account::{Account, Charge, Counters, Wanted},
    door::{BrokenOff, Received},
    limits::{
        BODY_DEADLINE, BODY_IDLE, CAPACITY_TIMEOUT, LEAST_BODY_BYTES_PER_SECOND, SETTLEMENT_CAPACITY_TIMEOUT,
    },
    rpc::layers::intake::fault::Fault,
};

/// Of a message's head.
pub(super) const PREFIX_BYTES: usize = 5;
/// Room that is made for a message of which hardly anything has come: as much as most have. When that is full, there is room for
/// all of it.
const FIRST_CAPACITY_BYTES: usize = 128 << 10;
/// Messages that come out of one read before others have their turn: somebody may send nothing but empty ones.
const MOST_AT_ONCE: usize = 256;

/// What is asked of a request's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Of one message.
    pub(super) most_bytes: usize,
    pub(super) wanted: Wanted,
    /// Whether more may be sent at any time, as on a stream; otherwise all of it must come at once.
    pub(super) open: bool,
}

/// What is read on for once there is room; nothing when there was none in time.
type Waiting = Pin<Box<dyn Future<Output = Option<Wanted>> + Send>>;

/// A body, and the message that is being put together.
pub(super) struct Assembler<B: Body<Data = Bytes> + Unpin = Incoming> {
    body: Received<B>,
    account: Account,
    counters: Counters,
    terms: Terms,
    /// What has come and belongs to no message yet.
    rest: Bytes,
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// The length of the message whose prefix is known.
    length: Option<usize>,
    message: BytesMut,
    /// For the message and the rest.
    charge: Charge,
    /// For whose sake there must be room: as the terms say, unless this message has waited long enough.
    wanted: Wanted,
    waiting: Option<Waiting>,
    clock: Clock,
    at_once: usize,
    /// The one message of a request that has no more has come.
    is_whole: bool,
    ended: bool,
}

/// How long a message may take.
struct Clock {
    /// Since when this message is awaited or comes; what was spent waiting for room does not count.
    begun: Instant,
    /// When something of it came last.
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Assembler<B> {
    pub(super) fn new(body: Received<B>, account: Account, counters: Counters, terms: Terms) -> Self {
        let charge = account.charge(0);
        let now = Instant::now();
        Self {
            body,
            account,
            counters,
            terms,
            rest: Bytes::new(),
            prefix: [0; PREFIX_BYTES],
            prefix_bytes: 0,
            length: None,
            message: BytesMut::new(),
            charge,
            wanted: terms.wanted,
            waiting: None,
            clock: Clock { begun: now, last: now, sleep: None },
            at_once: 0,
            is_whole: false,
            ended: false,
        }
    }

    /// The next whole message, and what it is charged; `None` after the client's end.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<(Bytes, Charge)>, Fault>> {
        loop {
            if self.at_once == MOST_AT_ONCE {
                self.at_once = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.is_whole && !self.rest.is_empty() {
                return Poll::Ready(Err(Fault::TooMany));
            }
            if let Some(whole) = self.assemble()? {
                self.at_once += 1;
                return Poll::Ready(Ok(Some(whole)));
            }
            if self.ended {
                return Poll::Ready(if self.has_begun() { Err(Fault::BrokenOff) } else { Ok(None) });
            }
            // The end of a request that is whole needs no room: what comes instead of it is refused, however little.
            if !self.is_whole {
                ready!(self.poll_capacity(context))?;
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return self.poll_clock(context).map(Err),
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Err(BrokenOff))) => return Poll::Ready(Err(Fault::BrokenOff)),
                Poll::Ready(Some(Ok(frame))) => {
                    self.rest = frame.into_data().unwrap_or_default();
                    self.charge.grow(self.rest.len());
                    self.at_once = 0;
                    if !self.rest.is_empty() {
                        self.clock.come(!self.has_begun());
                    }
                }
            }
        }
    }

    /// What is charged for what has come.
    pub(super) fn into_charge(self) -> Charge {
        self.charge
    }

    /// Puts the rest to the message; the message, when it is whole.
    fn assemble(&mut self) -> Result<Option<(Bytes, Charge)>, Fault> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let piece = self.rest.split_to(self.rest.len().min(PREFIX_BYTES - self.prefix_bytes));
                let until = self.prefix_bytes + piece.len();
                if let Some(place) = self.prefix.get_mut(self.prefix_bytes..until) {
                    place.copy_from_slice(&piece);
                }
                self.prefix_bytes = until;
                if until < PREFIX_BYTES {
                    return Ok(None);
                }
                let [compressed, length @ ..] = self.prefix;
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if length > self.terms.most_bytes {
                    return Err(Fault::TooLarge(self.terms.most_bytes));
                }
                if compressed != 0 {
                    return Err(Fault::Compressed);
                }
                self.length = Some(length);
                length
            }
        };
        let piece = self.rest.split_to(self.rest.len().min(length - self.message.len()));
        self.make_capacity(length, piece.len());
        // Copied: a piece keeps all of the buffer that it was read into, which may be much larger.
        self.message.extend_from_slice(&piece);
        if self.message.len() < length {
            return Ok(None);
        }
        (self.length, self.prefix_bytes) = (None, 0);
        (self.is_whole, self.wanted) = (!self.terms.open, self.terms.wanted);
        self.clock.come(true);
        Ok(Some((self.message.split().freeze(), self.charge.split(PREFIX_BYTES + length))))
    }

    /// Room for all of the message, unless so little has come that its length is no more than a claim.
    fn make_capacity(&mut self, length: usize, more: usize) {
        let have = self.message.len();
        if self.message.capacity() < have + more {
            let wanted =
                if have + more > FIRST_CAPACITY_BYTES { length } else { length.min(FIRST_CAPACITY_BYTES) };
            self.message.reserve(wanted - have);
        }
    }

    /// Whether a part of a message has come.
    fn has_begun(&self) -> bool {
        self.prefix_bytes > 0
    }

    fn poll_capacity(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None if self.account.has_capacity(self.wanted) => return Poll::Ready(Ok(())),
            None => self.wait(),
        };
        match waiting.as_mut().poll(context) {
            Poll::Pending => {
                self.waiting = Some(waiting);
                Poll::Pending
            }
            Poll::Ready(Some(wanted)) => {
                self.wanted = wanted;
                self.clock.wait_is_over();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(None) => {
                self.counters.refused.inc();
                Poll::Ready(Err(Fault::NoCapacity))
            }
        }
    }

    /// Waits for room. What has not begun holds nothing and waits without an end, if it may not be refused or is a stream's; what may
    /// not be refused and has begun is read on after a while, and its client's deadline decides.
    fn wait(&self) -> Waiting {
        self.counters.waited.inc();
        let (account, wanted, begun) = (self.account.clone(), self.wanted, self.has_begun());
        let refusable = matches!(wanted, Wanted::Request | Wanted::One) && (begun || !self.terms.open);
        Box::pin(async move {
            let capacity = account.clone().capacity(wanted);
            if refusable {
                return timeout(CAPACITY_TIMEOUT, capacity).await.ok().map(|()| wanted);
            }
            if wanted != Wanted::Settlement || !begun {
                capacity.await;
                return Some(wanted);
            }
            if timeout(SETTLEMENT_CAPACITY_TIMEOUT, capacity).await.is_ok() {
                return Some(wanted);
            }
            account.capacity(Wanted::Overdue).await;
            Some(Wanted::Overdue)
        })
    }

    /// An error once the message has taken too long. Between messages, a stream has all the time that it likes.
    fn poll_clock(&mut self, context: &mut Context<'_>) -> Poll<Fault> {
        if self.terms.open && !self.has_begun() {
            self.clock.sleep = None;
            return Poll::Pending;
        }
        let end = self.clock.end(self.length.unwrap_or(0));
        let sleep = self.clock.sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if sleep.deadline() != end {
            sleep.as_mut().reset(end);
        }
        sleep.as_mut().poll(context).map(|()| Fault::TooSlow)
    }
}

impl Clock {
    /// Something has come, which begins a message or goes on with it.
    fn come(&mut self, begins: bool) {
        self.last = Instant::now();
        if begins {
            self.begun = self.last;
        }
    }

    /// Time that was spent waiting for room is not the client's.
    fn wait_is_over(&mut self) {
        let now = Instant::now();
        self.begun += now - self.last;
        self.last = now;
    }

    /// When a message of this length must have gone on, or be whole.
    fn end(&self, length: usize) -> Instant {
        let for_length = Duration::from_secs(length as u64 / LEAST_BODY_BYTES_PER_SECOND);
        (self.last + BODY_IDLE).min(self.begun + BODY_DEADLINE + for_length)
    }
}

#[cfg(test)]
mod tests;

//! Assembles gRPC messages, one after the other, of a request's body as it arrives. The bytes are charged as they
//! arrive, each message has a deadline, and a message is returned in one piece when it is whole.
//!
//! The framing is Length-Prefixed-Message of "gRPC over HTTP/2": a byte that says whether the message is compressed,
//! its length as a big-endian `u32`, and the message.

mod timer;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::{
    account::{Account, Charge, Counters, Wanted},
    door::{BrokenOff, Received},
    limits::{CAPACITY_TIMEOUT, SETTLEMENT_CAPACITY_TIMEOUT},
    rpc::layers::intake::{assembler::timer::MessageTimer, fault::RequestFault},
};

/// Bytes of the flag and the length in front of a message.
pub(super) const PREFIX_BYTES: usize = 5;
/// Capacity of the buffer for a message of which few bytes have arrived. It suffices for most messages; when it is
/// full, the buffer gets capacity for the whole message.
const FIRST_CAPACITY_BYTES: usize = 128 << 10;
/// Messages of one read that are returned before other tasks run: a client may send nothing but empty messages.
const MAX_AT_ONCE: usize = 256;

/// The terms for a request's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Maximum bytes of one message.
    pub(super) max_bytes: usize,
    pub(super) wanted: Wanted,
    /// Whether messages may arrive at any time, as on a stream; otherwise there is one, which must arrive at once.
    pub(super) open: bool,
}

/// The wait for capacity. It returns what the capacity is wanted for now, or `None` if there was none in time.
type CapacityWait = Pin<Box<dyn Future<Output = Option<Wanted>> + Send>>;

/// A body, and the message that is being assembled.
pub(super) struct Assembler<B: Body<Data = Bytes> + Unpin = Incoming> {
    body: Received<B>,
    account: Account,
    counters: Counters,
    terms: Terms,
    /// Bytes that have arrived and belong to no message yet.
    rest: Bytes,
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// The length of the message whose prefix is known.
    length: Option<usize>,
    message: BytesMut,
    /// The charge for the message and the rest.
    charge: Charge,
    /// What capacity is wanted for: as the terms say, unless this message has waited too long.
    wanted: Wanted,
    waiting: Option<CapacityWait>,
    timer: MessageTimer,
    at_once: usize,
    /// Whether the only message of a request has arrived.
    is_whole: bool,
    ended: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Assembler<B> {
    pub(super) fn new(body: Received<B>, account: Account, counters: Counters, terms: Terms) -> Self {
        let charge = account.charge(0);
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
            timer: MessageTimer::new(),
            at_once: 0,
            is_whole: false,
            ended: false,
        }
    }

    /// The next whole message, and the charge for it; `None` after the client's end.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<(Bytes, Charge)>, RequestFault>> {
        loop {
            if self.at_once == MAX_AT_ONCE {
                self.at_once = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.is_whole && !self.rest.is_empty() {
                return Poll::Ready(Err(RequestFault::TooMany));
            }
            if let Some(whole) = self.assemble()? {
                self.at_once += 1;
                return Poll::Ready(Ok(Some(whole)));
            }
            if self.ended {
                return Poll::Ready(if self.has_begun() { Err(RequestFault::BrokenOff) } else { Ok(None) });
            }
            // Behind a whole request, only its end is accepted, which needs no capacity.
            if !self.is_whole {
                ready!(self.poll_capacity(context))?;
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return self.poll_timer(context).map(Err),
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Err(BrokenOff))) => return Poll::Ready(Err(RequestFault::BrokenOff)),
                Poll::Ready(Some(Ok(frame))) => {
                    self.rest = frame.into_data().unwrap_or_default();
                    self.charge.grow(self.rest.len());
                    self.at_once = 0;
                    if !self.rest.is_empty() {
                        self.timer.bytes_arrived(!self.has_begun());
                    }
                }
            }
        }
    }

    /// The charge for the bytes that have arrived.
    pub(super) fn into_charge(self) -> Charge {
        self.charge
    }

    /// Moves the rest to the message, and returns the message if it is whole.
    fn assemble(&mut self) -> Result<Option<(Bytes, Charge)>, RequestFault> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let piece = self.rest.split_to(self.rest.len().min(PREFIX_BYTES - self.prefix_bytes));
                let until = self.prefix_bytes + piece.len();
                if let Some(part) = self.prefix.get_mut(self.prefix_bytes..until) {
                    part.copy_from_slice(&piece);
                }
                self.prefix_bytes = until;
                if until < PREFIX_BYTES {
                    return Ok(None);
                }
                let [compressed, length @ ..] = self.prefix;
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if length > self.terms.max_bytes {
                    return Err(RequestFault::TooLarge(self.terms.max_bytes));
                }
                if compressed != 0 {
                    return Err(RequestFault::Compressed);
                }
                self.length = Some(length);
                length
            }
        };
        let piece = self.rest.split_to(self.rest.len().min(length - self.message.len()));
        self.make_capacity(length, piece.len());
        // The piece is copied: it keeps the whole buffer that it was read into, which may be much larger.
        self.message.extend_from_slice(&piece);
        if self.message.len() < length {
            return Ok(None);
        }
        (self.length, self.prefix_bytes) = (None, 0);
        (self.is_whole, self.wanted) = (!self.terms.open, self.terms.wanted);
        self.timer.bytes_arrived(true);
        Ok(Some((self.message.split().freeze(), self.charge.split(PREFIX_BYTES + length))))
    }

    /// Makes capacity for the whole message, unless so few bytes have arrived that its length is only a claim.
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

    fn poll_capacity(&mut self, context: &mut Context<'_>) -> Poll<Result<(), RequestFault>> {
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
                self.timer.wait_ended();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(None) => {
                self.counters.refused.inc();
                Poll::Ready(Err(RequestFault::NoCapacity))
            }
        }
    }

    /// Waits for capacity. A message that has not begun holds no bytes: on a stream, or if it may not be refused, it
    /// waits without a bound. One that has begun is refused after a while; if it may not be refused, it then competes
    /// as overdue.
    fn wait(&self) -> CapacityWait {
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

    /// Returns a fault once the message has taken too long. Between messages, a stream may pause without a bound.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<RequestFault> {
        if self.terms.open && !self.has_begun() {
            self.timer.stop();
            return Poll::Pending;
        }
        self.timer.poll(context, self.length.unwrap_or(0)).map(|()| RequestFault::TooSlow)
    }
}

#[cfg(test)]
mod tests;

//! Small frames of data that have arrived and that no body has consumed yet.
//!
//! The library holds each of them with some 300 bytes of its own, whatever the windows are, and ends the connection
//! when there are too many. So the socket is not read before that happens, until bodies have consumed some.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::limits::SMALL_DATA_BYTES;

/// Shared by a connection's transport, which counts frames in, and the bodies of its requests, which count them out.
#[derive(Clone, Debug)]
pub(super) struct Unread(Arc<Shared>);

/// Frames of one body are counted out while it is there.
#[derive(Debug)]
pub(super) struct Reading(Unread);

#[derive(Debug)]
struct Shared {
    max: usize,
    frames: AtomicUsize,
    bodies: AtomicUsize,
    reader: AtomicWaker,
}

impl Unread {
    /// Of a connection with this window: the library's own limit is twice as many frames of one byte.
    pub(super) fn of_window(bytes: u32) -> Self {
        let max = (bytes as usize / SMALL_DATA_BYTES).max(1);
        let reader = AtomicWaker::new();
        Self(Arc::new(Shared { max, frames: AtomicUsize::new(0), bodies: AtomicUsize::new(0), reader }))
    }

    /// The body of a request begins.
    pub(super) fn body(&self) -> Reading {
        self.0.bodies.fetch_add(1, Ordering::Relaxed);
        Reading(self.clone())
    }

    /// Counts small frames that have arrived.
    pub(super) fn arrived(&self, frames: usize) {
        if frames > 0 {
            self.0.frames.fetch_add(frames, Ordering::Relaxed);
        }
    }

    /// How many more may arrive before the library would have too many; waits while the limit is reached.
    pub(super) fn poll_capacity(&self, context: &Context<'_>) -> Poll<usize> {
        let shared = &self.0;
        let capacity = || (2 * shared.max).saturating_sub(shared.frames.load(Ordering::Acquire));
        if capacity() <= shared.max {
            shared.reader.register(context.waker());
            if capacity() <= shared.max {
                return Poll::Pending;
            }
        }
        Poll::Ready(capacity())
    }

    /// How many there are.
    pub(super) fn frames(&self) -> usize {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Sets the count to zero: frames whose call had ended when they arrived are consumed by nobody.
    pub(super) fn forget(&self) {
        self.0.frames.store(0, Ordering::Release);
        self.0.reader.wake();
    }
}

impl Reading {
    /// A body has consumed a frame's data.
    pub(super) fn consumed(&self, bytes: usize) {
        if bytes == 0 || bytes >= SMALL_DATA_BYTES {
            return;
        }
        let Shared { max, frames, reader, .. } = &*self.0.0;
        let one_less = |frames: usize| frames.checked_sub(1);
        // The reader waits from the limit on, and goes on when half of that is consumed.
        if frames.fetch_update(Ordering::Release, Ordering::Relaxed, one_less) == Ok(max / 2 + 1) {
            reader.wake();
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.0.0.bodies.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_reader_waits_for_bodies_and_is_woken_by_them() {
        let unread = Unread::of_window(16 << 10);
        let context = Context::from_waker(Waker::noop());
        let body = unread.body();
        assert_eq!(unread.poll_capacity(&context), Poll::Ready(32));
        unread.arrived(15);
        assert_eq!(unread.poll_capacity(&context), Poll::Ready(17));
        unread.arrived(5);
        assert!(unread.poll_capacity(&context).is_pending());
        // Neither of these was counted in.
        body.consumed(0);
        body.consumed(SMALL_DATA_BYTES);
        assert!(unread.poll_capacity(&context).is_pending());
        let (woken, count) = futures_test_waker();
        assert!(unread.poll_capacity(&Context::from_waker(&woken)).is_pending());
        for _ in 0..11 {
            body.consumed(1);
        }
        assert_eq!(count.load(Ordering::Relaxed), 0, "it is woken too early");
        body.consumed(1);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(unread.poll_capacity(&context), Poll::Ready(24));
    }

    #[test]
    fn nothing_is_counted_when_no_body_is_left_and_never_less_than_nothing() {
        let unread = Unread::of_window(1 << 10);
        let (first, second) = (unread.body(), unread.body());
        unread.arrived(10);
        first.consumed(5);
        drop(first);
        assert_eq!(unread.frames(), 9);
        drop(second);
        assert_eq!(unread.frames(), 0);
        unread.body().consumed(5);
        assert_eq!(unread.frames(), 0);
    }

    /// A waker that counts.
    fn futures_test_waker() -> (Waker, Arc<AtomicUsize>) {
        struct Counting(Arc<AtomicUsize>);
        impl std::task::Wake for Counting {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        (Arc::new(Counting(Arc::clone(&count))).into(), count)
    }
}

//! Limits how many polls of a tenant's tasks are made in one pass of the scheduler. Many tasks that are ready at once
//! would be in the scheduler's queue before those of others; here they wait outside it, and the queue stays short.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread::available_parallelism,
};

use pin_project_lite::pin_project;
use tokio::{sync::Semaphore, task::yield_now};
use tokio_util::sync::PollSemaphore;

/// Pieces of a pass, for each processor.
const PER_PROCESSOR: usize = 4;

/// A number of polls in each pass.
#[derive(Clone, Debug)]
pub(crate) struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pieces: usize,
    /// Polls that are left in this pass.
    left: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Somebody waits for the next pass.
    passing: AtomicBool,
}

/// One that waits.
struct Waiting(Pace);

impl Default for Pace {
    fn default() -> Self {
        static PIECES: LazyLock<usize> =
            LazyLock::new(|| PER_PROCESSOR * available_parallelism().map_or(1, std::num::NonZero::get));
        Self::new(*PIECES)
    }
}

impl Pace {
    pub(crate) fn new(pieces: usize) -> Self {
        let (left, waiting, passing) =
            (Arc::new(Semaphore::new(pieces)), AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { pieces, left, waiting, passing }))
    }

    /// The future, each poll of which counts as one. Polls beyond the limit wait and are made in the order of arrival.
    /// It must be polled within the runtime.
    pub(crate) fn paced<F>(&self, work: F) -> Paced<F> {
        let permit = PollSemaphore::new(Arc::clone(&self.0.left));
        Paced { pace: self.clone(), permit, waiting: None, work }
    }

    fn wait(&self) -> Waiting {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        if !self.0.passing.swap(true, Ordering::SeqCst) {
            tokio::spawn(self.clone().pass());
        }
        Waiting(self.clone())
    }

    /// Begins one pass after the other while anybody waits for it.
    async fn pass(self) {
        let Inner { pieces, left, waiting, passing } = &*self.0;
        loop {
            // Whatever is ready has been polled once when this goes on.
            yield_now().await;
            left.add_permits(pieces.saturating_sub(left.available_permits()));
            if waiting.load(Ordering::SeqCst) > 0 {
                continue;
            }
            passing.store(false, Ordering::SeqCst);
            // A task that began to wait meanwhile may have seen `passing` set.
            if waiting.load(Ordering::SeqCst) == 0 || passing.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

pin_project! {
    /// See [`Pace::paced`].
    pub struct Paced<F> {
        pace: Pace,
        permit: PollSemaphore,
        waiting: Option<Waiting>,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.permit.poll_acquire(context) {
            Poll::Ready(permit) => {
                *this.waiting = None;
                // It is used up. None is there only if the semaphore were closed, which it never is.
                permit.into_iter().for_each(|permit| permit.forget());
                this.work.poll(context)
            }
            Poll::Pending => {
                this.waiting.get_or_insert_with(|| this.pace.wait());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_ready_tasks_delay_nobody() {
        let (pace, done) = (Pace::new(2), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..1_000)
            .map(|_| {
                let done = Arc::clone(&done);
                tokio::spawn(pace.paced(async move {
                    for _ in 0..3 {
                        done.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                }))
            })
            .collect();
        for passes in 1..10 {
            yield_now().await;
            let done = done.load(Ordering::Relaxed);
            assert!(done <= 2 * (passes + 1), "{done} pieces in {passes} passes of another");
        }
        for one in tasks {
            one.await.unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), 3_000);
        while pace.0.passing.load(Ordering::SeqCst) {
            yield_now().await;
        }
        assert_eq!(pace.0.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_its_turn_to_the_next() {
        let (pace, come) = (Pace::new(1), Notify::new());
        let mut waits = Box::pin(pace.paced(come.notified()));
        assert!(waits.as_mut().now_or_never().is_none());
        let mut first = Box::pin(pace.paced(std::future::ready(())));
        assert!(first.as_mut().now_or_never().is_none());
        let second = pace.paced(std::future::ready(()));
        let mut second = Box::pin(second);
        assert!(second.as_mut().now_or_never().is_none());
        yield_now().await;
        drop(first);
        tokio::time::timeout(std::time::Duration::from_secs(60), second).await.unwrap();
        come.notify_one();
        tokio::time::timeout(std::time::Duration::from_secs(60), waits).await.unwrap();
    }
}

//! The task of one call, which the HTTP library has us run: ended from outside, it ends the call. A body cannot end
//! itself: the library does not poll it while the client's window is closed.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use prometheus::IntCounter;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    account::{Account, Wanted},
    limits::{LITTLE_ANSWER_BYTES, UNREAD_ANSWER_BYTES, UNREAD_PATIENCE},
};

/// In each request's extensions: it ends the call from outside, and counts the bytes of its answer that were written.
#[derive(Clone, Debug, Default)]
pub struct CallTask(Arc<Control>);

#[derive(Debug, Default)]
struct Control {
    ended: AtomicBool,
    waker: AtomicWaker,
    /// Bytes of the answer that were written.
    sent: AtomicU64,
    /// Bytes of an answer that is completely known, and is not written yet.
    unread: AtomicU64,
    /// The account of the answer, and the counter of answers that ended because they were not read.
    answer: OnceLock<(Account, IntCounter)>,
}

impl CallTask {
    /// Ends the call: its stream is reset, and all that is held for it is dropped.
    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    #[cfg(test)]
    pub(crate) fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Bytes of the answer that were written so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Bytes of the answer were written.
    pub(super) fn record_sent(&self, bytes: u64) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
        let less = |unread: u64| Some(unread.saturating_sub(bytes));
        // It never fails.
        let _ = self.0.unread.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// The answer is completely known: this many bytes wait to be written.
    pub(super) fn answered(&self, bytes: u64, account: &Account, counter: &IntCounter) {
        self.0.answer.get_or_init(|| (account.clone(), counter.clone()));
        self.0.unread.store(bytes, Ordering::Relaxed);
    }

    /// Whether enough of a whole answer waits that it must make progress, in time.
    fn may_get_stuck(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed) > LITTLE_ANSWER_BYTES
    }

    /// Whether so much waits that it must have made progress by now; the limit is lower while others find no free
    /// bytes.
    fn must_progress(&self) -> bool {
        let unread = self.0.unread.load(Ordering::Relaxed);
        let capacity =
            || self.0.answer.get().is_none_or(|(account, _)| account.has_capacity(Wanted::Request));
        unread > UNREAD_ANSWER_BYTES || unread > LITTLE_ANSWER_BYTES && !capacity()
    }
}

/// Runs the tasks of one connection's calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    /// The task of the next call: the library makes it as soon as it has passed the call on.
    next: Arc<Mutex<Option<CallTask>>>,
}

impl Tasks {
    /// The call that is handed over now.
    pub(super) fn next(&self) -> CallTask {
        let task = CallTask::default();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
        task
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: F) {
        match self.next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(task) => drop(tokio::spawn(Running { work: Box::pin(work), task, patience: None })),
            None => drop(tokio::spawn(work)),
        }
    }
}

struct Running<F> {
    work: Pin<Box<F>>,
    task: CallTask,
    /// Set while an unread answer must make progress: the time of the next check, and the bytes written before.
    patience: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<F: Future> Future for Running<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.task.0.ended.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.work.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        self.task.0.waker.register(context.waker());
        if self.task.0.ended.load(Ordering::Acquire) || self.is_stuck(context) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<F> Running<F> {
    /// Whether an answer that is too large to wait for ever has made no progress for too long.
    fn is_stuck(&mut self, context: &mut Context<'_>) -> bool {
        if !self.task.may_get_stuck() {
            self.patience = None;
            return false;
        }
        let sent = self.task.sent();
        let (sleep, before) = self.patience.get_or_insert_with(|| {
            let sleep = sleep_until(Instant::now() + UNREAD_PATIENCE);
            (Box::pin(sleep), sent)
        });
        while sleep.as_mut().poll(context).is_ready() {
            if sent == *before && self.task.must_progress() {
                self.task.0.answer.get().into_iter().for_each(|(_, counter)| counter.inc());
                return true;
            }
            *before = sent;
            sleep.as_mut().reset(Instant::now() + UNREAD_PATIENCE);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::account::{Accounts, Counters};

    /// Work that never ends, and sends a message when it is dropped.
    fn endless() -> (impl Future<Output = ()> + Send + 'static, oneshot::Receiver<()>) {
        let (alive, dropped) = oneshot::channel::<()>();
        let work = async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        };
        (work, dropped)
    }

    fn counter() -> IntCounter {
        IntCounter::new("unread", "unread").unwrap()
    }

    fn account() -> Account {
        Accounts::new(Counters::for_tests()).open(None).requests
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_ended_from_outside_and_no_other_is() {
        let tasks = Tasks::default();
        let (first, mut first_dropped) = endless();
        let first_task = tasks.next();
        tasks.execute(first);
        let (second, mut second_dropped) = endless();
        let _second_task = tasks.next();
        tasks.execute(second);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(first_dropped.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        first_task.end();
        first_dropped.await.unwrap_err();
        assert!(second_dropped.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_that_makes_no_progress_ends_and_one_that_does_goes_on() {
        let (tasks, counter) = (Tasks::default(), counter());
        let (work, mut dropped) = endless();
        let task = tasks.next();
        task.answered(2 * UNREAD_ANSWER_BYTES, &account(), &counter);
        tasks.execute(work);
        for _ in 0..10 {
            tokio::time::sleep(UNREAD_PATIENCE * 3 / 4).await;
            task.record_sent(1);
            assert!(dropped.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        }
        let stuck = Instant::now();
        dropped.await.unwrap_err();
        assert!(stuck.elapsed() >= UNREAD_PATIENCE / 4 && counter.get() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_answer_may_wait_unless_others_find_no_room() {
        let (tasks, counter, account) = (Tasks::default(), counter(), account());
        let (work, mut dropped) = endless();
        let task = tasks.next();
        task.answered(UNREAD_ANSWER_BYTES, &account, &counter);
        tasks.execute(work);
        let (other, mut other_dropped) = endless();
        let other_task = tasks.next();
        other_task.answered(LITTLE_ANSWER_BYTES, &account, &counter);
        tasks.execute(other);
        tokio::time::sleep(UNREAD_PATIENCE * 100).await;
        assert!(dropped.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        let _full = account.charge(1 << 30);
        dropped.await.unwrap_err();
        assert!(other_dropped.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
    }
}

//! Work that continues when its caller no longer waits, so that a command on its way to the disk gets its access
//! record.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Work that has begun. If it is dropped before its end, a task of its own completes it.
pub(crate) struct Detached<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: TaskTracker,
}

impl<T: Send + 'static> Detached<T> {
    /// `tasks` tracks the task that completes the work: the server ends after all of them.
    pub(crate) fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), tasks: tasks.clone() }
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // The work is moved out while it is polled, so that `drop` does not poll work that has panicked.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Detached<T> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the work ends with it.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.spawn_on(async move { drop(work.await) }, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_ends_all_the_same() {
        let tasks = TaskTracker::new();
        let (start, started) = oneshot::channel::<()>();
        let (done, was_done) = oneshot::channel();
        let mut detached = Detached::new(&tasks, async move {
            started.await.unwrap();
            done.send(7).unwrap();
        });
        assert!((&mut detached).now_or_never().is_none());
        drop(detached);
        start.send(()).unwrap();
        assert_eq!(was_done.await.unwrap(), 7);
        assert_eq!(Detached::new(&tasks, async { 8 }).await, 8);
        tasks.close();
        tasks.wait().await;
    }
}

//! Work that goes on when its caller has gone: what is on its way to the disk is recorded, whoever waits for the answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Work that has begun. Dropped before its end, it ends in a task of its own.
pub(crate) struct Detached<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    tasks: TaskTracker,
}

impl<T: Send + 'static> Detached<T> {
    /// The server ends after `tasks`.
    pub(crate) fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), tasks: tasks.clone() }
    }
}

impl<T: Send + 'static> Future for Detached<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out: work that panics must not be gone on with.
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
        // Without a runtime, the process ends.
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
        let (go, gone) = oneshot::channel::<()>();
        let (done, was_done) = oneshot::channel();
        let mut lasting = Detached::new(&tasks, async move {
            gone.await.unwrap();
            done.send(7).unwrap();
        });
        assert!((&mut lasting).now_or_never().is_none());
        drop(lasting);
        go.send(()).unwrap();
        assert_eq!(was_done.await.unwrap(), 7);
        assert_eq!(Detached::new(&tasks, async { 8 }).await, 8);
        tasks.close();
        tasks.wait().await;
    }
}

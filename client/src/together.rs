//! Who waits for an answer: one, or one for many, so that each of the many costs a count and not a channel.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::oneshot;

/// Whom to tell an answer. Dropping it tells that there will be none.
#[derive(Debug)]
pub(crate) enum Waiting<T> {
    Nobody,
    One(oneshot::Sender<T>),
    Part(Part<T>),
}

/// One of the answers that are awaited together.
#[derive(Debug)]
pub(crate) struct Part<T> {
    group: Arc<Group<T>>,
    index: usize,
}

/// All of the answers, to be awaited, in the order of the parts; `None` for a part that was dropped.
#[derive(Debug)]
pub(crate) struct Together<T> {
    group: Arc<Group<T>>,
    done: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Group<T> {
    missing: AtomicUsize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    answers: Vec<Option<T>>,
    done: Option<oneshot::Sender<()>>,
}

/// So many parts, and what waits for them.
pub(crate) fn together<T>(count: usize) -> (impl Iterator<Item = Part<T>>, Together<T>) {
    let (sender, done) = oneshot::channel();
    let answers = (0..count).map(|_| None).collect();
    let state = Mutex::new(State { answers, done: Some(sender).filter(|_| count > 0) });
    let group = Arc::new(Group { missing: AtomicUsize::new(count), state });
    let of_parts = Arc::clone(&group);
    let parts = (0..count).map(move |index| Part { group: Arc::clone(&of_parts), index });
    (parts, Together { group, done })
}

impl<T> Waiting<T> {
    pub(crate) fn tell(self, answer: T) {
        match self {
            Self::Nobody => {}
            // Who waited may have gone.
            Self::One(done) => drop(done.send(answer)),
            Self::Part(part) => part.tell(answer),
        }
    }
}

impl<T> Part<T> {
    pub(crate) fn tell(self, answer: T) {
        self.group.with(|state| {
            if let Some(place) = state.answers.get_mut(self.index) {
                *place = Some(answer);
            }
        });
        // It is dropped, and counted there.
    }
}

impl<T> Drop for Part<T> {
    fn drop(&mut self) {
        if self.group.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.group.with(|state| state.done.take().map(|done| done.send(())));
        }
    }
}

impl<T> Together<T> {
    /// The answers that are there.
    pub(crate) fn take(&self) -> Vec<Option<T>> {
        self.group.with(|state| mem::take(&mut state.answers))
    }
}

impl<T> Future for Together<T> {
    type Output = Vec<Option<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Without a sender all are told.
        Pin::new(&mut self.done).poll(cx).map(|_| self.take())
    }
}

impl<T> Group<T> {
    fn with<R>(&self, work: impl FnOnce(&mut State<T>) -> R) -> R {
        // Nothing panics while it is held; if it did, the answers would still be whole.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{Waiting, together};

    #[test]
    fn many_are_told_when_the_last_is() {
        let (parts, mut answers) = together(3);
        let mut parts: Vec<_> = parts.collect();
        Waiting::Part(parts.remove(1)).tell("b");
        drop(parts.remove(1));
        assert!((&mut answers).now_or_never().is_none(), "one is missing");
        Waiting::Part(parts.remove(0)).tell("a");
        assert_eq!(answers.now_or_never().unwrap(), [Some("a"), Some("b"), None]);
    }

    #[test]
    fn what_is_there_can_be_taken_before() {
        let (parts, answers) = together(2);
        let mut parts: Vec<_> = parts.collect();
        parts.pop().unwrap().tell(2);
        assert_eq!(answers.take(), [None, Some(2)]);
        parts.pop().unwrap().tell(1);
    }

    #[test]
    fn none_are_told_at_once() {
        assert!(together::<()>(0).1.now_or_never().unwrap().is_empty());
    }
}

//! Where the task of a publisher or consumer sends an answer. An [`AnswerGroup`] is one future for many answers, so
//! that each of them costs a counter and not a channel.

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

/// Where an answer goes. If this is dropped, its receiver gets none.
#[derive(Debug)]
pub(crate) enum Responder<T> {
    Discard,
    One(oneshot::Sender<T>),
    Group(AnswerPart<T>),
}

/// One of the answers of a group.
#[derive(Debug)]
pub(crate) struct AnswerPart<T> {
    group: Arc<Shared<T>>,
    index: usize,
}

/// Resolves to all answers, in the order of the parts, once each part is answered or dropped; `None`: it was dropped.
#[derive(Debug)]
pub(crate) struct AnswerGroup<T> {
    group: Arc<Shared<T>>,
    done: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Shared<T> {
    missing: AtomicUsize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    answers: Vec<Option<T>>,
    done: Option<oneshot::Sender<()>>,
}

impl<T> Responder<T> {
    pub(crate) fn send(self, answer: T) {
        match self {
            Self::Discard => {}
            // The receiver may have been dropped.
            Self::One(done) => drop(done.send(answer)),
            Self::Group(part) => part.send(answer),
        }
    }
}

impl<T> AnswerPart<T> {
    pub(crate) fn send(self, answer: T) {
        self.group.with(|state| {
            if let Some(slot) = state.answers.get_mut(self.index) {
                *slot = Some(answer);
            }
        });
        // `drop` counts it.
    }
}

impl<T> Drop for AnswerPart<T> {
    fn drop(&mut self) {
        if self.group.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.group.with(|state| state.done.take().map(|done| done.send(())));
        }
    }
}

impl<T> AnswerGroup<T> {
    /// A group of `count` answers, and its parts in order.
    pub(crate) fn new(count: usize) -> (Self, impl Iterator<Item = AnswerPart<T>>) {
        let (sender, done) = oneshot::channel();
        let answers = (0..count).map(|_| None).collect();
        let state = Mutex::new(State { answers, done: Some(sender).filter(|_| count > 0) });
        let group = Arc::new(Shared { missing: AtomicUsize::new(count), state });
        let of_parts = Arc::clone(&group);
        let parts = (0..count).map(move |index| AnswerPart { group: Arc::clone(&of_parts), index });
        (Self { group, done }, parts)
    }

    /// The answers received so far.
    pub(crate) fn drain(&self) -> Vec<Option<T>> {
        self.group.with(|state| mem::take(&mut state.answers))
    }
}

impl<T> Future for AnswerGroup<T> {
    type Output = Vec<Option<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Without parts there is no sender, and this resolves at once.
        Pin::new(&mut self.done).poll(cx).map(|_| self.drain())
    }
}

impl<T> Shared<T> {
    fn with<R>(&self, work: impl FnOnce(&mut State<T>) -> R) -> R {
        // No holder of the lock panics; even then the answers would be whole.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{AnswerGroup, Responder};

    #[test]
    fn a_group_resolves_with_its_last_answer() {
        let (mut answers, parts) = AnswerGroup::new(3);
        let mut parts: Vec<_> = parts.collect();
        Responder::Group(parts.remove(1)).send("b");
        drop(parts.remove(1));
        assert!((&mut answers).now_or_never().is_none(), "one is missing");
        Responder::Group(parts.remove(0)).send("a");
        assert_eq!(answers.now_or_never().unwrap(), [Some("a"), Some("b"), None]);
    }

    #[test]
    fn answers_can_be_drained_before_the_last_is_received() {
        let (answers, parts) = AnswerGroup::new(2);
        let mut parts: Vec<_> = parts.collect();
        parts.pop().unwrap().send(2);
        assert_eq!(answers.drain(), [None, Some(2)]);
        parts.pop().unwrap().send(1);
    }

    #[test]
    fn a_group_of_none_resolves_at_once() {
        assert!(AnswerGroup::<()>::new(0).0.now_or_never().unwrap().is_empty());
    }
}

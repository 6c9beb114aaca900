use std::{
    collections::VecDeque,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{PublishError, Stored, batch::PublishOutcome};
use crate::answer_group::AnswerGroup;

/// Resolves to the server's answers for many messages: one for each, in order. It resolves when all are received, or
/// after the latest time limit of the messages; without such a limit if one of them has none.
#[derive(Debug, Default)]
#[must_use = "await it to know that the messages are stored, or drop it and flush later"]
pub struct PublishAcks {
    pub(super) groups: VecDeque<AnswerGroup<PublishOutcome>>,
    outcomes: Vec<PublishOutcome>,
    pub(super) deadlines: LatestDeadline,
    /// Created at the first poll that has to wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Future for PublishAcks {
    type Output = Vec<Result<Stored, PublishError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(group) = this.groups.front_mut() {
            let Poll::Ready(answers) = Pin::new(group).poll(cx) else { break };
            this.outcomes.extend(answers.into_iter().map(|it| it.unwrap_or(Err(PublishError::Closed))));
            this.groups.pop_front();
        }
        if !this.groups.is_empty() {
            let Some(deadline) = this.deadlines.latest() else { return Poll::Pending };
            let alarm = this.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let answers = this.groups.drain(..).flat_map(|group| group.drain());
            this.outcomes.extend(answers.map(|it| it.unwrap_or(Err(PublishError::TimedOut))));
        }
        Poll::Ready(mem::take(&mut this.outcomes))
    }
}

/// The latest deadline of a group.
#[derive(Debug, Default)]
pub(super) struct LatestDeadline {
    latest: Option<Instant>,
    /// Whether one of the group has no deadline.
    unlimited: bool,
}

impl LatestDeadline {
    pub(super) fn add(&mut self, deadline: Option<Instant>) {
        self.latest = self.latest.max(deadline);
        self.unlimited |= deadline.is_none();
    }

    /// The latest deadline; `None` if one of the group has none.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.latest.filter(|_| !self.unlimited)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Instant, LatestDeadline};

    #[test]
    fn one_without_a_deadline_leaves_all_without() {
        let (mut deadlines, now) = (LatestDeadline::default(), Instant::now());
        assert_eq!(deadlines.latest(), None);
        deadlines.add(Some(now + Duration::from_secs(1)));
        deadlines.add(Some(now));
        assert_eq!(deadlines.latest(), Some(now + Duration::from_secs(1)));
        deadlines.add(None);
        assert_eq!(deadlines.latest(), None);
    }
}

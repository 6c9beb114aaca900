//! The events that dispatch sends to a consumer's session, and the errors that end it.

use std::collections::VecDeque;

use posthouse_engine::outcome::LiveDelivery;
use posthouse_proto::v1::ErrorReason;
use tokio::sync::mpsc;
use tonic::Code;

use crate::{dispatch::SessionEvent, rpc::wire::status::ApiError};

/// The events of a stream's session. An event that ends the session overtakes leases that the stream does not accept
/// yet.
pub(crate) struct SessionEvents {
    events: mpsc::UnboundedReceiver<SessionEvent>,
    /// Events that arrived while the stream did not accept them.
    deferred: VecDeque<SessionEvent>,
}

impl SessionEvents {
    pub(crate) fn new(events: mpsc::UnboundedReceiver<SessionEvent>) -> Self {
        Self { events, deferred: VecDeque::new() }
    }

    /// The next event, if the stream accepts leases; otherwise the next event that ends the session.
    pub(crate) async fn next(&mut self, accepts_leases: bool) -> Option<SessionEvent> {
        if accepts_leases && let Some(event) = self.deferred.pop_front() {
            return Some(event);
        }
        loop {
            let event = self.events.recv().await?;
            if accepts_leases || is_end(&event) {
                return Some(event);
            }
            self.deferred.push_back(event);
        }
    }

    /// The next event, if there is one.
    pub(crate) fn next_now(&mut self) -> Option<SessionEvent> {
        self.deferred.pop_front().or_else(|| self.events.try_recv().ok())
    }

    /// Ends the events, and returns the leases that the stream has not accepted. Dispatch returns later ones itself.
    pub(crate) fn unread(mut self) -> impl Iterator<Item = LiveDelivery> {
        self.events.close();
        let granted = std::iter::from_fn(move || self.next_now()).filter_map(|event| match event {
            SessionEvent::Granted(leased) => Some(leased),
            _ => None,
        });
        granted.flatten().map(|leased| leased.live)
    }
}

/// Whether an event is the last of its session.
fn is_end(event: &SessionEvent) -> bool {
    match event {
        SessionEvent::TakenOver
        | SessionEvent::QueueDeleted
        | SessionEvent::DepartmentClosed
        | SessionEvent::DepartmentSetAside
        | SessionEvent::Halted => true,
        SessionEvent::Resumed(_)
        | SessionEvent::Granted(_)
        | SessionEvent::Idle { .. }
        | SessionEvent::Drain => false,
    }
}

/// The error of an event that ends a session.
pub(crate) fn ended(event: &SessionEvent) -> ApiError {
    match event {
        SessionEvent::TakenOver => {
            let text = "a newer stream with the same session id has taken over; use one stream per session";
            ApiError::new(Code::Aborted, ErrorReason::SessionTakenOver, text)
        }
        SessionEvent::QueueDeleted => ApiError::queue_deleted(),
        SessionEvent::DepartmentClosed => ApiError::department_closed(),
        SessionEvent::DepartmentSetAside => ApiError::set_aside(),
        SessionEvent::Halted => ApiError::shard_halted(),
        SessionEvent::Drain
        | SessionEvent::Resumed(_)
        | SessionEvent::Granted(_)
        | SessionEvent::Idle { .. } => ApiError::draining(),
    }
}

//! What dispatch sends to a consume stream, and why it ended it.

use std::collections::VecDeque;

use posthouse_engine::outcome::LiveDelivery;
use posthouse_proto::v1::ErrorReason;
use tokio::sync::mpsc;
use tonic::Code;

use crate::{dispatch::SessionEvent, rpc::wire::status::ApiError};

/// What dispatch tells a stream. That it has ended is heard whether or not the stream takes the rest.
pub(crate) struct SessionEvents {
    events: mpsc::UnboundedReceiver<SessionEvent>,
    /// Heard before the stream took it.
    kept: VecDeque<SessionEvent>,
}

impl SessionEvents {
    pub(crate) fn new(events: mpsc::UnboundedReceiver<SessionEvent>) -> Self {
        Self { events, kept: VecDeque::new() }
    }

    /// The next event, if the stream `takes` what is leased to it, else the next that ends it.
    pub(crate) async fn next(&mut self, takes: bool) -> Option<SessionEvent> {
        if takes && let Some(event) = self.kept.pop_front() {
            return Some(event);
        }
        loop {
            let event = self.events.recv().await?;
            if takes || is_end(&event) {
                return Some(event);
            }
            self.kept.push_back(event);
        }
    }

    /// The next event, if there is one.
    pub(crate) fn next_now(&mut self) -> Option<SessionEvent> {
        self.kept.pop_front().or_else(|| self.events.try_recv().ok())
    }

    /// What the stream was leased and has not taken: what dispatch tells from now on, it takes back itself.
    pub(crate) fn unread(mut self) -> impl Iterator<Item = LiveDelivery> {
        self.events.close();
        let granted = std::iter::from_fn(move || self.next_now()).filter_map(|event| match event {
            SessionEvent::Granted(leased) => Some(leased),
            _ => None,
        });
        granted.flatten().map(|leased| leased.live)
    }
}

/// Whether nothing follows for the stream.
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

/// Why dispatch has ended a stream.
pub(crate) fn ended(event: &SessionEvent) -> ApiError {
    let (code, reason, text) = match event {
        SessionEvent::TakenOver => {
            let text = "a newer stream with the same session id has taken over; use one stream per session";
            (Code::Aborted, ErrorReason::SessionTakenOver, text)
        }
        SessionEvent::QueueDeleted => return ApiError::queue_deleted(),
        SessionEvent::DepartmentClosed => {
            let text = "the department is closed: it is no longer in the server's configuration";
            (Code::FailedPrecondition, ErrorReason::DepartmentClosed, text)
        }
        SessionEvent::DepartmentSetAside => return ApiError::set_aside(),
        SessionEvent::Halted => {
            let text = "the department's shard is halted after a failed check; an operator must look at the server's log";
            (Code::Unavailable, ErrorReason::ShardHalted, text)
        }
        SessionEvent::Drain
        | SessionEvent::Resumed(_)
        | SessionEvent::Granted(_)
        | SessionEvent::Idle { .. } => {
            return ApiError::draining();
        }
    };
    ApiError::new(code, reason, text)
}

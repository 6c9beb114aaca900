//! What is at the edge of a consume stream: frames that may not leave any more, leases that were never sent, and why it ended.

use posthouse_engine::outcome::LiveDelivery;
use posthouse_proto::v1::{ConsumeResponse, ErrorReason, consume_response as out};
use tokio::sync::mpsc;
use tonic::Code;

use super::{consume_deliver::Backlog, status::ApiError};
use crate::{
    dispatch::{SessionEvent, Unsent},
    door::{Departing, Departure},
};

/// A frame on its way out, with the leases of its deliveries, which go back if it does not leave.
pub(crate) struct Outgoing {
    pub(crate) frame: out::Frame,
    pub(crate) unsent: Option<Unsent>,
}

impl From<out::Frame> for Outgoing {
    fn from(frame: out::Frame) -> Self {
        Self { frame, unsent: None }
    }
}

impl Outgoing {
    /// It is the stream's next, and has left when the network has taken it.
    pub(crate) fn depart(self, departure: &Departure) -> ConsumeResponse {
        departure.message(self.unsent.map(|unsent| Box::new(unsent) as _));
        ConsumeResponse { frame: Some(self.frame) }
    }
}

impl Departing for Unsent {
    /// The first may be too large for the client, which goes away as soon as it sees the length: that counts as a try. Of what is
    /// behind it, nothing can be read before the frame is whole.
    fn begun(&mut self) {
        self.first_sent();
    }

    fn left(self: Box<Self>) {
        self.sent();
    }
}

/// What a stream was leased and has not read: what dispatch tells from now on, it takes back itself.
pub(crate) fn unread(mut told: mpsc::UnboundedReceiver<SessionEvent>, backlog: Backlog) -> Vec<LiveDelivery> {
    told.close();
    let mut unread: Vec<_> = backlog.unread().collect();
    while let Ok(event) = told.try_recv() {
        if let SessionEvent::Granted(leased) = event {
            unread.extend(leased.into_iter().map(|leased| leased.live));
        }
    }
    unread
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

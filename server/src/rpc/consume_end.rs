//! What is at the edge of a consume stream: frames that may not leave any more, leases that were never sent, and why it ended.

use std::collections::VecDeque;

use posthouse_engine::outcome::LiveDelivery;
use posthouse_proto::{
    DeliveryBatch,
    v1::{ConsumeResponse, ErrorReason, ExtendedFrame, consume_response as out},
};
use tokio::sync::mpsc;
use tonic::Code;

use super::{consume::Extended, convert, settlements::SettledAnswer, status::ApiError};
use crate::{
    account::Charge,
    dispatch::{SessionEvent, Unsent},
    door::{Departing, Departure},
};

/// What goes out, until it is encoded, which is when it is sent.
pub(crate) enum Outgoing {
    Frame(out::Frame),
    /// The answer to settlements.
    Settled(SettledAnswer),
    /// The answer to an extension of this id.
    Extended(u64, Extended),
    /// An extension of this id and of so many deliveries was refused.
    NotExtended(u64, usize, ApiError),
    Deliveries(Deliveries),
}

/// Deliveries on their way out.
pub(crate) struct Deliveries {
    pub(crate) batch: DeliveryBatch,
    pub(crate) unsent: UnsentDeliveries,
}

/// The leases of deliveries, which go back if these do not leave, and what they are charged until then.
pub(crate) struct UnsentDeliveries {
    pub(crate) leases: Unsent,
    pub(crate) _charge: Charge,
}

impl From<out::Frame> for Outgoing {
    fn from(frame: out::Frame) -> Self {
        Self::Frame(frame)
    }
}

impl Outgoing {
    /// It is the stream's next, and has left when the network has taken it.
    pub(crate) fn depart(self, departure: &Departure) -> ConsumeResponse {
        let (frame, unsent) = match self {
            Self::Frame(frame) => (frame, None),
            Self::Settled(answer) => (out::Frame::Settled(answer.frame()), None),
            Self::Extended(extend_id, extended) => {
                (out::Frame::Extended(ExtendedFrame { extend_id, results: extended.results() }), None)
            }
            Self::NotExtended(extend_id, count, error) => {
                let results = vec![convert::refused_extension(&error); count];
                (out::Frame::Extended(ExtendedFrame { extend_id, results }), None)
            }
            Self::Deliveries(Deliveries { batch, unsent }) => {
                (out::Frame::Deliveries(batch), Some(Box::new(unsent) as _))
            }
        };
        departure.message(unsent);
        ConsumeResponse { frame: Some(frame) }
    }

    /// About what an answer takes in memory; deliveries are charged apart.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Settled(answer) => answer.bytes(),
                Self::Extended(_, extended) => extended.bytes(),
                Self::Frame(_) | Self::NotExtended(..) | Self::Deliveries(_) => 0,
            }
    }

    pub(crate) fn is_deliveries(&self) -> bool {
        matches!(self, Self::Deliveries(_))
    }
}

impl Departing for UnsentDeliveries {
    /// The first may be too large for the client, which goes away as soon as it sees the length: that counts as a try. Of what is
    /// behind it, nothing can be read before the frame is whole.
    fn begun(&mut self) {
        self.leases.first_sent();
    }

    fn left(self: Box<Self>) {
        self.leases.sent();
    }
}

/// What dispatch tells a stream. That it has ended is heard whether or not the stream takes the rest.
pub(crate) struct Told {
    events: mpsc::UnboundedReceiver<SessionEvent>,
    /// Heard before the stream took it.
    kept: VecDeque<SessionEvent>,
}

impl Told {
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

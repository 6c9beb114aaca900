//! What is at the edge of a consume stream: frames that may not leave any more, leases that were never sent, and why it ended.

use posthouse_proto::{
    DeliveryBatch,
    v1::{ConsumeResponse, ExtendedFrame, consume_response as out},
};

use crate::{
    account::Charge,
    dispatch::Unsent,
    door::{OnSent, SendTracker},
    rpc::{
        consume::{settlements::SettledAnswer, source::Extended},
        stream::task::ServerFrame,
        wire::{convert, status::ApiError},
    },
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

impl From<ServerFrame> for Outgoing {
    fn from(frame: ServerFrame) -> Self {
        Self::Frame(match frame {
            ServerFrame::Drain(drain) => out::Frame::Drain(drain),
            ServerFrame::TokenRefreshed(refreshed) => out::Frame::TokenRefreshed(refreshed),
        })
    }
}

impl From<out::Frame> for Outgoing {
    fn from(frame: out::Frame) -> Self {
        Self::Frame(frame)
    }
}

impl Outgoing {
    /// It is the stream's next, and has left when the network has taken it.
    pub(crate) fn track(self, tracker: &SendTracker) -> ConsumeResponse {
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
        tracker.message(unsent);
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

impl OnSent for UnsentDeliveries {
    /// The first may be too large for the client, which goes away as soon as it sees the length: that counts as a try. Of what is
    /// behind it, nothing can be read before the frame is whole.
    fn begun(&mut self) {
        self.leases.first_sent();
    }

    fn left(self: Box<Self>) {
        self.leases.sent();
    }
}

//! Frames that a consume stream sends, and the leases in them, which are returned if their frame is not sent.

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

/// A frame that is not encoded yet. It is encoded when it is sent.
pub(crate) enum ConsumeFrame {
    Frame(out::Frame),
    /// The answer to a frame of settlements.
    Settled(SettledAnswer),
    /// The answer to an extension of this id.
    Extended(u64, Extended),
    /// The refusal of an extension of this id and of so many deliveries.
    NotExtended(u64, usize, ApiError),
    Deliveries(Deliveries),
}

/// Deliveries that are not sent yet.
pub(crate) struct Deliveries {
    pub(crate) batch: DeliveryBatch,
    pub(crate) unsent: UnsentDeliveries,
}

/// The leases of deliveries, which are returned if the deliveries are not sent, and the charge for these.
pub(crate) struct UnsentDeliveries {
    pub(crate) leases: Unsent,
    pub(crate) _charge: Charge,
}

impl From<ServerFrame> for ConsumeFrame {
    fn from(frame: ServerFrame) -> Self {
        Self::Frame(match frame {
            ServerFrame::Drain(drain) => out::Frame::Drain(drain),
            ServerFrame::TokenRefreshed(refreshed) => out::Frame::TokenRefreshed(refreshed),
        })
    }
}

impl From<out::Frame> for ConsumeFrame {
    fn from(frame: out::Frame) -> Self {
        Self::Frame(frame)
    }
}

impl ConsumeFrame {
    /// The message to be encoded next. `tracker` notices when the network has sent its deliveries.
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

    /// About the bytes of an answer in memory. Deliveries have a charge of their own.
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
    /// The first delivery counts as an attempt: it may be too large for the client, which closes the call as soon as it
    /// sees the length. The deliveries behind it cannot be read before the frame is complete.
    fn begun(&mut self) {
        self.leases.first_sent();
    }

    fn left(self: Box<Self>) {
        self.leases.sent();
    }
}

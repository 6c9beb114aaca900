use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use posthouse_proto::{
    google::rpc,
    v1::{self, ExtendResult, SettleAction, SettleResult, extend_result, settle_result},
};
use tonic::Code;

use super::refusal_in_frame;

/// One queue: its ready and leased messages, and the results of the others.
#[derive(Default)]
pub struct Leases {
    /// Payload and failed attempts by sequence.
    pub ready: BTreeMap<u64, (Bytes, u32)>,
    pub leased: BTreeMap<Bytes, Lease>,
    pub settled: HashMap<Bytes, SettleAction>,
    /// The sequences of acked messages.
    pub acked: Vec<u64>,
    /// The current stream of each session.
    pub sessions: HashMap<Bytes, u64>,
    pub extensions: usize,
    /// The time left of a lease at its delivery; `None` as from an older server.
    pub seconds_left: Option<i64>,
    /// Settle, but do not confirm.
    pub mute: bool,
    pub settle_frames: usize,
    /// Answer settlements of messages that are not leased as purged.
    pub purged: bool,
    /// Attributes of every delivery.
    pub attributes: HashMap<String, String>,
    /// Do not answer pings.
    pub deaf: bool,
    pub pings: usize,
    /// The credits of all streams.
    pub credit: v1::Credit,
    next_token: u64,
    last_sequence: u64,
}

pub struct Lease {
    pub session: Bytes,
    pub sequence: u64,
    pub payload: Bytes,
    pub failed: u32,
}

impl Leases {
    pub fn put(&mut self, payload: impl Into<Bytes>) {
        self.last_sequence += 1;
        self.ready.insert(self.last_sequence, (payload.into(), 0));
    }

    pub fn lease(&mut self, session: &Bytes) -> Option<v1::Delivery> {
        let (sequence, (payload, failed)) = self.ready.pop_first()?;
        self.next_token += 1;
        let token = Bytes::from(format!("token-{:014}", self.next_token));
        let lease = Lease { session: session.clone(), sequence, payload, failed };
        let mut delivery = delivery(&token, &lease, false);
        delivery.message.as_mut().unwrap().attributes = self.attributes.clone();
        delivery.lease_time_left =
            self.seconds_left.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        self.leased.insert(token, lease);
        Some(delivery)
    }

    pub fn resumed(&self, session: &Bytes) -> Vec<v1::Delivery> {
        let of_session = self.leased.iter().filter(|(_, lease)| lease.session == *session);
        of_session.map(|(token, lease)| delivery(token, lease, true)).collect()
    }

    /// Ends the leases of one session, or of all; released ones do not count as attempts.
    pub fn end_leases(&mut self, session: Option<&Bytes>, failed: u32) {
        let ended =
            self.leased.extract_if(.., |_, lease| session.is_none_or(|session| lease.session == *session));
        for (_, lease) in ended {
            self.ready.insert(lease.sequence, (lease.payload, lease.failed + failed));
        }
    }

    pub fn settle(&mut self, settlement: &v1::Settlement) -> SettleResult {
        let action = settlement.action();
        let result = if self.settled.contains_key(&settlement.token) {
            settle_result::Result::AlreadySettled(settle_result::Settled { action: action.into() })
        } else if let Some(lease) = self.leased.remove(&settlement.token) {
            self.settled.insert(settlement.token.clone(), action);
            match action {
                SettleAction::Ack => self.acked.push(lease.sequence),
                SettleAction::Nack => {
                    _ = self.ready.insert(lease.sequence, (lease.payload, lease.failed + 1))
                }
                SettleAction::Release => _ = self.ready.insert(lease.sequence, (lease.payload, lease.failed)),
                SettleAction::DeadLetter | SettleAction::Unspecified => {}
            }
            settle_result::Result::Settled(settle_result::Settled { action: action.into() })
        } else {
            settle_result::Result::Error(self.ended())
        };
        SettleResult { result: Some(result) }
    }

    fn ended(&self) -> rpc::Status {
        let reason = if self.purged { "MESSAGE_PURGED" } else { "LEASE_LOST" };
        refusal_in_frame(Code::FailedPrecondition, reason)
    }

    pub fn extend(&mut self, token: &Bytes) -> ExtendResult {
        self.extensions += 1;
        let result = if self.leased.contains_key(token) {
            extend_result::Result::LeaseDeadline(prost_types::Timestamp { seconds: 2_000_000_000, nanos: 0 })
        } else {
            extend_result::Result::Error(self.ended())
        };
        ExtendResult { result: Some(result), lease_time_left: None }
    }
}

fn delivery(token: &Bytes, lease: &Lease, resumed: bool) -> v1::Delivery {
    v1::Delivery {
        token: token.clone(),
        message: Some(v1::Message {
            id: format!("m-{}", lease.sequence),
            sequence: lease.sequence,
            payload: lease.payload.clone(),
            ..v1::Message::default()
        }),
        attempt: lease.failed + 1,
        lease_deadline: None,
        resumed,
        lease_time_left: None,
    }
}

//! Extensions of leases that are queued or in flight.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use posthouse_proto::v1::{self, extend_result};
use tokio::time::Instant;

use super::{
    SettleError,
    command::{Extend, Extended},
    ledger::Lease,
};
use crate::{
    error::{Error, Refusal},
    time,
};

const FRAMES_IN_FLIGHT: usize = 4;
const TOKENS_PER_FRAME: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Extensions {
    waiting: VecDeque<Extend>,
    in_flight: VecDeque<Frame>,
    next_id: u64,
}

#[derive(Debug)]
struct Frame {
    id: u64,
    sent: Instant,
    duration: Duration,
    extends: Vec<Extend>,
}

/// The result of one frame.
#[derive(Debug)]
pub(super) struct Answered {
    /// Extended leases, and the earliest time at which each ends.
    pub(super) extended: Vec<(Lease, Instant)>,
    pub(super) lost: HashSet<Lease>,
}

impl Extensions {
    pub(super) fn push(&mut self, extend: Extend) {
        self.waiting.push_back(extend);
    }

    /// Returns the next frame to send: the longest run of equal durations. `None` if nothing is queued or enough frames
    /// are in flight.
    pub(super) fn next_frame(&mut self, now: Instant) -> Option<v1::ExtendFrame> {
        if self.in_flight.len() >= FRAMES_IN_FLIGHT {
            return None;
        }
        let duration = self.waiting.front()?.duration;
        let run = self.waiting.iter().take(TOKENS_PER_FRAME).take_while(|it| it.duration == duration).count();
        let extends: Vec<Extend> = self.waiting.drain(..run).collect();
        let tokens = extends.iter().map(|extend| extend.lease.token.clone()).collect();
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight.push_back(Frame { id, sent: now, duration, extends });
        Some(v1::ExtendFrame { extend_id: id, tokens, lease_duration: Some(time::to_wire(duration)) })
    }

    /// Sends each result to its responder, and returns what became of the leases.
    pub(super) fn answer(&mut self, answer: v1::ExtendedFrame) -> Result<Answered, Error> {
        let index = self.in_flight.iter().position(|frame| frame.id == answer.extend_id);
        let Some(frame) = index.and_then(|index| self.in_flight.remove(index)) else {
            return Err(Error::Protocol("results of extensions that are not in flight"));
        };
        if frame.extends.len() != answer.results.len() {
            self.in_flight.push_front(frame);
            return Err(Error::Protocol("results that are not one per extension"));
        }
        let mut answered = Answered { extended: Vec::new(), lost: HashSet::new() };
        for (extend, result) in frame.extends.into_iter().zip(answer.results) {
            let outcome = match result.result {
                Some(extend_result::Result::LeaseDeadline(deadline)) => {
                    // The server counted the time left after this frame was sent, so the lease ends no earlier than
                    // this.
                    let left = time::duration(result.lease_time_left).unwrap_or(frame.duration);
                    let until = frame.sent.checked_add(left).unwrap_or(frame.sent);
                    answered.extended.push((extend.lease, until));
                    Ok(Extended { deadline: time::system_time(deadline), until })
                }
                Some(extend_result::Result::Error(status)) => {
                    let refusal = Refusal::from(&status);
                    if is_lost(&refusal) {
                        answered.lost.insert(extend.lease);
                    }
                    Err(SettleError::Refused(refusal))
                }
                None => Err(SettleError::Closed),
            };
            if let Some(done) = extend.done {
                let _ = done.send(outcome);
            }
        }
        Ok(answered)
    }

    /// Queues what was not answered again, in its old order.
    pub(super) fn stream_ended(&mut self) {
        while let Some(frame) = self.in_flight.pop_back() {
            for extend in frame.extends.into_iter().rev() {
                self.waiting.push_front(extend);
            }
        }
    }

    pub(super) fn fail_all(&mut self, error: &SettleError) {
        self.stream_ended();
        for extend in self.waiting.drain(..) {
            if let Some(done) = extend.done {
                let _ = done.send(Err(error.clone()));
            }
        }
    }
}

/// Whether the refusal says that the lease has ended. Any other refusal, of an invalid duration for example, leaves it
/// as it was.
fn is_lost(refusal: &Refusal) -> bool {
    let reason = refusal.reason();
    matches!(reason, Some("LEASE_LOST" | "SETTLED_BY_ANOTHER" | "MESSAGE_PURGED" | "DELIVERY_TOKEN_INVALID"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use posthouse_proto::v1::{ExtendResult, ExtendedFrame, extend_result};
    use prost::Message as _;
    use tokio::time::Instant;
    use tonic_types::pb;

    use super::{Extend, Extensions, Lease};

    fn refused(reason: &str) -> ExtendResult {
        let info = pb::ErrorInfo { reason: reason.to_owned(), ..Default::default() };
        let details = vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        }];
        let status = posthouse_proto::google::rpc::Status { code: 3, message: String::new(), details };
        ExtendResult { result: Some(extend_result::Result::Error(status)), lease_time_left: None }
    }

    #[test]
    fn a_lease_is_lost_only_when_the_server_says_that_it_is_gone() {
        let mut extensions = Extensions::default();
        for token in ["asked for too long", "gone", "purged"] {
            let lease = Lease { token: token.into(), slot: 0 };
            extensions.push(Extend { lease, duration: Duration::from_secs(60), done: None });
        }
        let extend_id = extensions.next_frame(Instant::now()).unwrap().extend_id;
        let results =
            vec![refused("LEASE_DURATION_INVALID"), refused("LEASE_LOST"), refused("MESSAGE_PURGED")];
        let answered = extensions.answer(ExtendedFrame { extend_id, results }).unwrap();
        let mut lost: Vec<_> = answered.lost.into_iter().map(|lease| lease.token).collect();
        lost.sort();
        assert_eq!(lost, ["gone", "purged"]);
        assert!(answered.extended.is_empty());
    }

    #[test]
    fn a_lease_lasts_as_long_as_the_server_says_whatever_its_deadline() {
        let (mut extensions, sent) = (Extensions::default(), Instant::now());
        let lease = |token: &'static str| Lease { token: token.into(), slot: 0 };
        for token in ["longer", "as asked", "an older server's"] {
            extensions.push(Extend { lease: lease(token), duration: Duration::from_secs(60), done: None });
        }
        let extend_id = extensions.next_frame(sent).unwrap().extend_id;
        // By a wall clock of another year.
        let deadline = prost_types::Timestamp { seconds: 1, nanos: 0 };
        let results = [Some(300), Some(60), None].map(|seconds| ExtendResult {
            result: Some(extend_result::Result::LeaseDeadline(deadline)),
            lease_time_left: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        });
        let answered = extensions.answer(ExtendedFrame { extend_id, results: results.to_vec() }).unwrap();
        let lasts: Vec<u64> = answered.extended.iter().map(|(_, until)| (*until - sent).as_secs()).collect();
        assert_eq!(lasts, [300, 60, 60]);
    }
}

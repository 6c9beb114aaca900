use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use posthouse_proto::{
    google::rpc,
    v1::{
        NewMessage, PublishResult, publish_result,
        publish_stream_response::{AllStored, Results},
    },
};
use tonic::Code;

use super::refusal_in_frame;

/// The producer sessions, and the messages that they stored.
#[derive(Default)]
pub struct Producers {
    pub stored: Vec<Bytes>,
    /// Attributes of every received message.
    pub attributes: Vec<HashMap<String, String>>,
    sessions: HashMap<Bytes, Session>,
    /// Refusals of whole batches, in the order of arrival, before any other check.
    pub refuse: VecDeque<rpc::Status>,
    /// Refuse batches for good whose first message has this payload.
    pub poison: Option<Bytes>,
    /// Store, but do not answer.
    pub mute: bool,
    pub batches: usize,
}

#[derive(Default)]
struct Session {
    epoch: u64,
    next: u64,
    /// Of every stored batch, its first sequence in the session and in the queue, and its number of messages.
    batches: Vec<(u64, u64, u64)>,
}

impl Producers {
    /// The sequence that is expected next.
    pub fn open(&mut self, id: &Bytes, epoch: u64) -> Result<u64, rpc::Status> {
        let session = self.sessions.entry(id.clone()).or_default();
        if epoch < session.epoch {
            return Err(refusal_in_frame(Code::FailedPrecondition, "PRODUCER_FENCED"));
        }
        if epoch > session.epoch {
            *session = Session { epoch, ..Session::default() };
        }
        Ok(session.next)
    }

    /// Removes the sessions, as after seven idle days.
    pub fn forget(&mut self) {
        self.sessions.clear();
    }

    pub fn epochs(&self) -> Vec<u64> {
        self.sessions.values().map(|session| session.epoch).collect()
    }

    pub fn publish(
        &mut self,
        id: &Bytes,
        epoch: u64,
        first: u64,
        messages: Vec<NewMessage>,
    ) -> Result<Results, rpc::Status> {
        self.batches += 1;
        if let Some(refusal) = self.refuse.pop_front() {
            return Err(refusal);
        }
        let session = self.sessions.entry(id.clone()).or_default();
        session.epoch = session.epoch.max(epoch);
        if epoch < session.epoch {
            return Err(refusal_in_frame(Code::FailedPrecondition, "PRODUCER_FENCED"));
        }
        let count = messages.len() as u64;
        if first < session.next {
            return duplicate(session, first, count);
        }
        if first > session.next {
            return Err(refusal_in_frame(Code::FailedPrecondition, "PRODUCER_SEQUENCE_GAP"));
        }
        if messages.first().map(|message| &message.payload) == self.poison.as_ref() {
            return Err(refusal_in_frame(Code::InvalidArgument, "BATCH_INVALID"));
        }
        session.next += count;
        self.attributes.extend(messages.iter().map(|message| message.attributes.clone()));
        let sequence = self.stored.len() as u64 + 1;
        session.batches.push((first, sequence, count));
        let bad = |message: &NewMessage| message.payload.starts_with(b"bad");
        if !messages.iter().any(bad) {
            self.stored.extend(messages.into_iter().map(|message| message.payload));
            let first_message_id = format!("m-{sequence}");
            let all = AllStored {
                first_sequence: sequence,
                count: count as u32,
                first_message_id,
                publish_time: None,
            };
            return Ok(Results { all_stored: Some(all), results: Vec::new() });
        }
        let mut results = Vec::new();
        for message in messages {
            results.push(if bad(&message) {
                let refusal = refusal_in_frame(Code::InvalidArgument, "ATTRIBUTES_INVALID");
                publish_result::Result::Error(refusal)
            } else {
                self.stored.push(message.payload);
                let sequence = self.stored.len() as u64;
                publish_result::Result::Stored(publish_result::Stored {
                    message_id: format!("m-{sequence}"),
                    sequence,
                })
            });
        }
        let results = results.into_iter().map(|result| PublishResult { result: Some(result) }).collect();
        Ok(Results { all_stored: None, results })
    }
}

/// A repeated batch must be the same as before.
fn duplicate(session: &Session, first: u64, count: u64) -> Result<Results, rpc::Status> {
    let position = session.batches.iter().position(|batch| (batch.0, batch.2) == (first, count));
    let Some(position) = position else {
        return Err(refusal_in_frame(Code::Internal, "BOUNDARIES_MOVED"));
    };
    let recent = position + 8 >= session.batches.len();
    let (_, sequence, _) = session.batches[position];
    let results = (0..count).map(|index| {
        let (message_id, sequence) =
            if recent { (format!("m-{}", sequence + index), sequence + index) } else { (String::new(), 0) };
        let duplicate = publish_result::Duplicate { message_id, sequence };
        PublishResult { result: Some(publish_result::Result::Duplicate(duplicate)) }
    });
    Ok(Results { all_stored: None, results: results.collect() })
}

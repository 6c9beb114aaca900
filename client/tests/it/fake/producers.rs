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

/// Producer sessions, and the messages that they stored.
#[derive(Default)]
pub struct Producers {
    pub stored: Vec<Bytes>,
    /// Of every message that came.
    pub attributes: Vec<HashMap<String, String>>,
    sessions: HashMap<Bytes, Session>,
    /// Whole batches to refuse, in the order of coming, before anything else is checked.
    pub refuse: VecDeque<rpc::Status>,
    /// Batches that came with these bytes in their first message are refused for good.
    pub poison: Option<Bytes>,
    /// Store, and say nothing.
    pub mute: bool,
    pub batches: usize,
}

#[derive(Default)]
struct Session {
    epoch: u64,
    next: u64,
    /// First sequence of the session and of the queue, and count; of every batch ever stored.
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

    /// Forgets the sessions, as after seven idle days.
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

/// A batch that comes again must come as it was.
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

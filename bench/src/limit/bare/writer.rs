//! Group commit: one thread writes the messages of all waiting frames with one synced RocksDB write, then answers the
//! frames.

use std::{path::Path, thread};

use anyhow::{Context as _, Result};
use posthouse_proto::v1::{
    PublishStreamResponse,
    publish_stream_request::Batch,
    publish_stream_response::{AllStored, BatchResult, Frame, Results, batch_result::Outcome},
};
use rocksdb::{DB, Error};
use tokio::sync::mpsc;
use tonic::Status;

use crate::limit::raw::{self, Keys};

/// Frames in the writer's channel; when it is full, streams are not read.
const MAX_WAITING_FRAMES: usize = 1_024;
/// Payload bytes of one write. A larger write does not lower the cost of the sync and delays the first answer.
const MAX_WRITE_BYTES: usize = 8 << 20;

/// The answers of one stream.
pub type Answers = mpsc::UnboundedSender<Result<PublishStreamResponse, Status>>;

/// A frame that is not on disk yet.
#[derive(Debug)]
pub struct Waiting {
    /// The messages of the frame.
    pub batch: Batch,
    /// The answers of the frame's stream.
    pub answers: Answers,
}

/// Opens the database and starts the writer thread, which ends with the last sender or at a failed write.
pub fn start(data: &Path) -> Result<mpsc::Sender<Waiting>> {
    let mut writer = Writer { db: raw::open(data)?, keys: Keys::default() };
    let (sender, mut frames) = mpsc::channel(MAX_WAITING_FRAMES);
    let run = move || {
        let mut waiting = Vec::with_capacity(MAX_WAITING_FRAMES);
        while frames.blocking_recv_many(&mut waiting, MAX_WAITING_FRAMES) > 0 {
            while !waiting.is_empty() {
                let fit = fitting(&waiting);
                if !writer.commit(waiting.drain(..fit.frames), &fit) {
                    return;
                }
            }
        }
    };
    thread::Builder::new().name("writer".to_owned()).spawn(run).context("cannot start the writer")?;
    Ok(sender)
}

/// How much of the waiting frames goes into one write.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fit {
    frames: usize,
    messages: usize,
    bytes: usize,
}

/// The oldest frames whose payloads are at most MAX_WRITE_BYTES together, and at least one frame.
fn fitting(waiting: &[Waiting]) -> Fit {
    let mut fit = Fit::default();
    for Waiting { batch, .. } in waiting {
        let bytes = batch.messages.iter().map(|message| message.payload.len()).sum::<usize>();
        if fit.frames > 0 && fit.bytes + bytes > MAX_WRITE_BYTES {
            break;
        }
        fit.frames += 1;
        fit.messages += batch.messages.len();
        fit.bytes += bytes;
    }
    fit
}

struct Writer {
    db: DB,
    keys: Keys,
}

impl Writer {
    /// Writes the frames and answers them; `false` if the write failed.
    fn commit(&mut self, frames: impl Iterator<Item = Waiting>, fit: &Fit) -> bool {
        let mut batch = raw::batch(fit.messages, fit.bytes);
        let mut unanswered = Vec::with_capacity(fit.frames);
        for Waiting { batch: Batch { batch_id, messages, .. }, answers } in frames {
            let first_sequence = self.keys.count();
            for message in &messages {
                batch.put(self.keys.next(), &message.payload);
            }
            let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
            unanswered.push((answers, stored(batch_id, first_sequence, count)));
        }
        let written = raw::write_synced(&self.db, batch);
        for (answers, stored) in unanswered {
            // A client that has disconnected needs no answer.
            let _ = answers.send(written.clone().map(|()| stored).map_err(|error| refused(&error)));
        }
        written.is_ok()
    }
}

fn stored(batch_id: u64, first_sequence: u64, count: u32) -> PublishStreamResponse {
    let all_stored = AllStored { first_sequence, count, ..AllStored::default() };
    let outcome = Outcome::Results(Results { all_stored: Some(all_stored), results: Vec::new() });
    let result = BatchResult { batch_id, outcome: Some(outcome) };
    PublishStreamResponse { frame: Some(Frame::BatchResult(result)) }
}

fn refused(error: &Error) -> Status {
    Status::internal(format!("not stored: {error}"))
}

#[cfg(test)]
mod tests {
    use posthouse_proto::v1::NewMessage;

    use super::*;

    fn frame(batch_id: u64, messages: usize, bytes: usize, answers: &Answers) -> Waiting {
        let message = NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() };
        let batch = Batch { batch_id, messages: vec![message; messages], ..Batch::default() };
        Waiting { batch, answers: answers.clone() }
    }

    #[test]
    fn every_frame_is_answered_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let frames = start(folder.path()).unwrap();
        let (answers, mut answered) = mpsc::unbounded_channel();
        for id in 0..500 {
            frames.blocking_send(frame(id, 3, 16, &answers)).unwrap();
        }
        drop((frames, answers));
        for id in 0..500 {
            assert_eq!(answered.blocking_recv().unwrap().unwrap(), stored(id, 3 * id, 3));
        }
        assert!(answered.blocking_recv().is_none());
    }

    #[test]
    fn a_write_ends_where_it_is_large_enough() {
        let (answers, _answered) = mpsc::unbounded_channel();
        let quarter = || frame(0, 2, MAX_WRITE_BYTES / 8, &answers);
        let large = || frame(0, 1, 2 * MAX_WRITE_BYTES, &answers);
        assert_eq!(fitting(&[quarter(), quarter()]).frames, 2);
        assert_eq!(fitting(&[quarter(), quarter(), quarter(), quarter(), quarter()]).frames, 4);
        assert_eq!(fitting(&[large(), quarter()]).frames, 1);
        assert_eq!(fitting(&[quarter(), large()]).frames, 1);
    }
}

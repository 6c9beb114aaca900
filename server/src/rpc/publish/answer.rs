//! The frames that a publish stream sends, above all the answers to batches.

use std::sync::Arc;

use posthouse_engine::{
    ids::QueueRef,
    outcome::{EntryResult, Published},
};
use posthouse_proto::v1::publish_stream_response::{
    self as out, AllStored, BatchResult, Results, batch_result,
};

use crate::{
    account::Charge,
    rpc::{
        context::Context,
        detached::Detached,
        publish::{batch::Proposed, target::PublishTarget, telemetry},
        stream::{outbox::ChargedFrame, task::ServerFrame},
        wire::{convert, status::ApiError},
    },
};

/// A frame that is not encoded yet. It is encoded when it is sent, because many equal errors are much longer then.
pub(super) enum PublishFrame {
    Frame(out::Frame),
    Batch(BatchAnswer),
}

/// The answer to a batch with one result per message.
pub(super) struct BatchAnswer {
    batch_id: u64,
    at: QueueRef,
    published: Published,
    errors: Vec<Arc<ApiError>>,
}

/// A batch that is not decided yet, or was refused.
pub(super) struct Undecided {
    pub(super) context: Arc<Context>,
    pub(super) batch_id: u64,
    pub(super) target: Arc<PublishTarget>,
    pub(super) with_message_ids: bool,
    pub(super) proposed: Result<Proposed, ApiError>,
    /// The charge for the batch, and then for its answer.
    pub(super) charge: Charge,
}

impl From<ServerFrame> for PublishFrame {
    fn from(frame: ServerFrame) -> Self {
        Self::Frame(match frame {
            ServerFrame::Drain(drain) => out::Frame::Drain(drain),
            ServerFrame::TokenRefreshed(refreshed) => out::Frame::TokenRefreshed(refreshed),
        })
    }
}

impl PublishFrame {
    pub(super) fn frame(self) -> out::Frame {
        match self {
            Self::Frame(frame) => frame,
            Self::Batch(BatchAnswer { batch_id, at, published, errors }) => {
                let results = convert::publish_results(at, &published, &errors);
                let results = Results { all_stored: None, results };
                let outcome = Some(batch_result::Outcome::Results(results));
                out::Frame::BatchResult(BatchResult { batch_id, outcome })
            }
        }
    }

    /// About its bytes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(_) => size_of::<Self>(),
            Self::Batch(BatchAnswer { published, errors, .. }) => {
                let others = errors.windows(2).filter(|pair| !Arc::ptr_eq(&pair[0], &pair[1])).count();
                published.results.len() * size_of::<EntryResult>() + errors.len() * 8 + (others + 1) * 512
            }
        }
    }
}

/// The answer to a batch. The batch is recorded even if its client disconnects.
pub(super) fn answer(undecided: Undecided) -> Detached<Result<ChargedFrame<PublishFrame>, ApiError>> {
    let tasks = undecided.context.streams.clone();
    Detached::new(&tasks, decided(undecided))
}

async fn decided(undecided: Undecided) -> Result<ChargedFrame<PublishFrame>, ApiError> {
    let Undecided { context, batch_id, target, with_message_ids, proposed, mut charge } = undecided;
    let decided = match proposed {
        Ok(proposed) => proposed.decided(&context, &target).await,
        Err(error) => Err(error),
    };
    let answer = match decided {
        Ok((published, errors)) => {
            let at = target.queue.at;
            match all_stored(at, &published).filter(|_| !with_message_ids) {
                Some(all_stored) => {
                    let results = Results { all_stored: Some(all_stored), results: Vec::new() };
                    batch_frame(batch_id, batch_result::Outcome::Results(results))
                }
                None => PublishFrame::Batch(BatchAnswer { batch_id, at, published, errors }),
            }
        }
        Err(error) => {
            telemetry::rejected(&context.observer, &error);
            batch_frame(batch_id, batch_result::Outcome::Error(error.to_proto()))
        }
    };
    charge.set(answer.bytes());
    Ok((answer, charge))
}

fn batch_frame(batch_id: u64, outcome: batch_result::Outcome) -> PublishFrame {
    PublishFrame::Frame(out::Frame::BatchResult(BatchResult { batch_id, outcome: Some(outcome) }))
}

/// The short answer to a batch whose messages were all stored, with successive sequences.
fn all_stored(at: QueueRef, published: &Published) -> Option<AllStored> {
    let Some(&EntryResult::Stored(first_sequence)) = published.results.first() else { return None };
    let in_a_row = (first_sequence..).zip(&published.results).all(|(s, r)| *r == EntryResult::Stored(s));
    in_a_row.then(|| AllStored {
        first_sequence,
        count: u32::try_from(published.results.len()).unwrap_or(u32::MAX),
        first_message_id: convert::message_id(at, first_sequence),
        publish_time: Some(convert::timestamp(published.published_at_ms)),
    })
}

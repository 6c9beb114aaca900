//! A publish stream: batches in, answers out in the same order, many on their way to the disk at once.

use std::{pin::Pin, sync::Arc, time::SystemTime};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, future::OptionFuture, stream::FuturesOrdered,
};
use posthouse_engine::{
    ids::QueueRef,
    outcome::{EntryResult, Published},
};
use posthouse_proto::v1::{
    Drain, ErrorReason, ProducerSession, PublishStreamRequest, PublishStreamResponse, RefreshToken,
    TokenRefreshed,
    publish_stream_request::{Batch, Frame, Open, Producer},
    publish_stream_response::{self as out, AllStored, BatchResult, Opened, Results, batch_result},
};
use tokio::time::Instant;
use tonic::Status;

use crate::{
    account::Charge,
    identity::{Principal, TokenVerifier},
    policy::{Admission, methods},
    rpc::{
        context::{Context, queue_name},
        detached::Lasting,
        layers::{
            intake::{Arrived, Frames},
            watch::Call,
        },
        publish::{
            batch::{Proposed, check_producer, propose},
            target::Target,
            telemetry,
        },
        stream::{
            connection::{
                Connection, DRAIN_PATIENCE, PROTOCOL_VERSION, check_version, first_frame, refresh, ticks,
            },
            outbox::{Gone, Outlet, outlet},
        },
        wire::{convert, status::ApiError},
    },
};

/// Batches of one stream on their way; beyond, the client waits.
const MAX_BATCHES_ON_THEIR_WAY: usize = 64;

type Proposing = Pin<Box<dyn Future<Output = Undecided> + Send>>;
/// An answer, and what is charged for it.
type Answered = (Outgoing, Charge);
type Answer = Pin<Box<dyn Future<Output = Result<Answered, ApiError>> + Send>>;

/// What goes out. It is encoded when it is sent: many equal errors are much longer then.
enum Outgoing {
    Frame(out::Frame),
    Batch(BatchAnswer),
}

/// The answer to a batch of which each message has its own.
struct BatchAnswer {
    batch_id: u64,
    at: QueueRef,
    published: Published,
    errors: Vec<Arc<ApiError>>,
}

/// One publish stream.
pub(crate) struct PublishStream {
    context: Arc<Context>,
    tokens: Arc<TokenVerifier>,
    connection: Connection,
    call: Option<Arc<Call>>,
}

/// A stream after its Open.
struct Opening {
    target: Arc<Target>,
    producer: Option<Producer>,
    tell_message_ids: bool,
    /// A batch that waits for room. The next is not looked at before.
    proposing: Option<Proposing>,
    answers: FuturesOrdered<Answer>,
    /// There was no place for the record of the last batch: the next ones do not wait for one, too.
    waited: bool,
    /// When the stream ends, once it was told to drain.
    drained: Option<Instant>,
}

/// A batch whose answer is awaited.
struct Undecided {
    context: Arc<Context>,
    batch_id: u64,
    target: Arc<Target>,
    tell_message_ids: bool,
    proposed: Result<Proposed, ApiError>,
    /// For the batch, and then for its answer.
    charge: Charge,
}

impl Outgoing {
    fn frame(self) -> out::Frame {
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

    /// About what it takes in memory.
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

impl Opening {
    /// A batch is proposed, or refused.
    fn proposed(&mut self, undecided: Undecided) {
        let unrecorded = |error: &ApiError| error.reason() == ErrorReason::AccessNotRecorded;
        self.waited = undecided.proposed.as_ref().is_err_and(unrecorded);
        self.answers.push_back(Box::pin(answer(undecided)));
    }
}

impl PublishStream {
    pub(crate) fn new(
        context: Arc<Context>,
        tokens: Arc<TokenVerifier>,
        connection: Connection,
        call: Option<Arc<Call>>,
    ) -> Self {
        Self { context, tokens, connection, call }
    }

    /// Runs the stream in a task of its own; what it answers comes out here.
    pub(crate) fn run(
        self,
        admission: Admission<methods::PublishStream>,
        frames: Frames<PublishStreamRequest>,
    ) -> impl Stream<Item = Result<PublishStreamResponse, Status>> + Send + 'static {
        let (mut out, answers) = outlet(self.connection.task.clone(), &self.connection.accounts);
        let streams = self.context.streams.clone();
        streams.spawn(async move {
            let ended = self.serve(&admission, frames, &mut out).await;
            out.end(ended);
        });
        answers.map_ok(|outgoing: Outgoing| PublishStreamResponse { frame: Some(outgoing.frame()) })
    }

    async fn serve(
        &self,
        admission: &Admission<methods::PublishStream>,
        mut frames: Frames<PublishStreamRequest>,
        out: &mut Outlet<Outgoing>,
    ) -> Result<(), ApiError> {
        let first = first_frame(&mut frames, &self.connection.leaving).await?;
        let Some(Frame::Open(open)) = first.and_then(|f| f.frame) else {
            return Err(ApiError::frame("the first frame must be Open"));
        };
        let mut open = self.open(admission, open, out).await?;
        let ended = self.exchange(&mut open, &mut frames, out).await;
        // What was accepted is answered, however the stream ends.
        let Opening { proposing, mut answers, .. } = open;
        if let Some(proposing) = proposing {
            answers.push_back(Box::pin(proposing.then(answer)));
        }
        let answered = out.finish(answers).await;
        ended.and(answered)
    }

    async fn open(
        &self,
        admission: &Admission<methods::PublishStream>,
        open: Open,
        out: &mut Outlet<Outgoing>,
    ) -> Result<Opening, ApiError> {
        if let Some(call) = &self.call {
            call.is_about(&open.queue);
        }
        check_version(open.protocol_version)?;
        admission.permit(&queue_name("queue", &open.queue)?)?;
        if self.connection.leaving.is_cancelled() {
            return Err(ApiError::draining());
        }
        let (connection, kept) = (&self.connection.identity, self.connection.accounts.kept.clone());
        let target = Target::open(&self.context, admission, connection, kept, &open.queue).await?;
        let next_sequence = match &open.producer {
            None => 0,
            Some(producer) => self.next_sequence(&target, admission.principal(), producer).await?,
        };
        let max_message_bytes = target.max_message_bytes();
        let queue_uid = convert::queue_uid(target.queue.at);
        let opened =
            Opened { protocol_version: PROTOCOL_VERSION, next_sequence, max_message_bytes, queue_uid };
        out.send(Outgoing::Frame(out::Frame::Opened(opened)));
        Ok(Opening {
            target: Arc::new(target),
            producer: open.producer,
            tell_message_ids: open.tell_message_ids,
            proposing: None,
            answers: FuturesOrdered::new(),
            waited: false,
            drained: None,
        })
    }

    async fn next_sequence(
        &self,
        target: &Target,
        principal: &Principal,
        producer: &Producer,
    ) -> Result<u64, ApiError> {
        check_producer(&producer.producer_id, producer.epoch)?;
        let (at, id, epoch) = (target.queue.at, producer.producer_id.clone(), producer.epoch);
        let (tenant, subject) = (target.queue.department.tenant.0, principal.subject.clone());
        let read = self.context.shards.query(target.queue.department.origin(), move |m, kv| {
            m.producer_next(kv, at, &id, epoch, tenant, &subject)
        });
        Ok(read.await???)
    }

    /// Until the client's end. Nothing in here waits for the client to read, or holds the stream up without an end.
    async fn exchange(
        &self,
        open: &mut Opening,
        frames: &mut Frames<PublishStreamRequest>,
        out: &mut Outlet<Outgoing>,
    ) -> Result<(), ApiError> {
        let mut ticks = ticks();
        loop {
            let room =
                open.proposing.is_none() && open.answers.len() < MAX_BATCHES_ON_THEIR_WAY && out.has_room();
            tokio::select! {
                flowed = out.flow() => flowed.map_err(|Gone| ApiError::frame("the client has gone away"))?,
                _ = ticks.tick() => self.look_around(open, out)?,
                Some(answer) = open.answers.next() => out.answer(answer?),
                Some(undecided) = OptionFuture::from(open.proposing.as_mut()) => {
                    open.proposing = None;
                    open.proposed(undecided);
                }
                arrived = frames.next(), if room => {
                    let Some(arrived) = arrived? else { return Ok(()) };
                    self.take(open, arrived, out)?;
                }
            }
        }
    }

    /// What only time tells.
    fn look_around(&self, open: &mut Opening, out: &mut Outlet<Outgoing>) -> Result<(), ApiError> {
        open.target.permit.check_again(SystemTime::now())?;
        if out.is_stuck() {
            return Err(out.cut_off());
        }
        match open.drained {
            None if self.connection.leaving.is_cancelled() => {
                open.drained = Some(Instant::now() + DRAIN_PATIENCE);
                out.send(Outgoing::Frame(out::Frame::Drain(Drain::default())));
                Ok(())
            }
            Some(end) if end <= Instant::now() => Err(ApiError::draining()),
            _ => Ok(()),
        }
    }

    fn take(
        &self,
        open: &mut Opening,
        arrived: Arrived<PublishStreamRequest>,
        out: &mut Outlet<Outgoing>,
    ) -> Result<(), ApiError> {
        match arrived.request.frame {
            Some(Frame::Batch(batch)) => {
                let context = Arc::clone(&self.context);
                let (target, producer) = (Arc::clone(&open.target), open.producer.clone());
                let mut proposing = Box::pin(propose_batch(
                    context,
                    target,
                    producer,
                    open.tell_message_ids,
                    batch,
                    open.waited,
                    arrived.charge,
                ));
                // Most often there is room at once.
                match proposing.as_mut().now_or_never() {
                    Some(undecided) => open.proposed(undecided),
                    None => open.proposing = Some(proposing),
                }
            }
            Some(Frame::RefreshToken(RefreshToken { token })) => {
                let (permit, expire_time) =
                    refresh(&self.tokens, &self.connection, &open.target.permit, &token)?;
                let Target { queue, quota, connection, kept, .. } = &*open.target;
                let (queue, quota, kept) = (queue.clone(), Arc::clone(quota), kept.clone());
                open.target = Arc::new(Target { permit, queue, quota, connection: *connection, kept });
                let refreshed = TokenRefreshed { expire_time: Some(expire_time) };
                out.send(Outgoing::Frame(out::Frame::TokenRefreshed(refreshed)));
            }
            Some(Frame::Open(_)) => return Err(ApiError::frame("Open is for the first frame only")),
            None => return Err(ApiError::frame("the frame is of a kind this server does not know")),
        }
        Ok(())
    }
}

async fn propose_batch(
    context: Arc<Context>,
    target: Arc<Target>,
    producer: Option<Producer>,
    tell_message_ids: bool,
    batch: Batch,
    waited: bool,
    charge: Charge,
) -> Undecided {
    let Batch { batch_id, messages, first_sequence, atomic } = batch;
    let producer = producer.map(|Producer { producer_id, epoch }| ProducerSession {
        producer_id,
        epoch,
        first_sequence,
    });
    let proposed = propose(&context, &target, messages, producer, atomic, waited).await;
    Undecided { context, batch_id, target, tell_message_ids, proposed, charge }
}

/// The answer to a batch, which is on record even if its client has gone.
fn answer(undecided: Undecided) -> Lasting<Result<Answered, ApiError>> {
    let tasks = undecided.context.streams.clone();
    Lasting::new(&tasks, decided(undecided))
}

/// The answer to a batch, once it is decided.
async fn decided(undecided: Undecided) -> Result<Answered, ApiError> {
    let Undecided { context, batch_id, target, tell_message_ids, proposed, mut charge } = undecided;
    let decided = match proposed {
        Ok(proposed) => proposed.decided(&context, &target).await,
        Err(error) => Err(error),
    };
    let answer = match decided {
        Ok((published, errors)) => {
            let at = target.queue.at;
            match all_stored(at, &published).filter(|_| !tell_message_ids) {
                Some(all_stored) => {
                    let results = Results { all_stored: Some(all_stored), results: Vec::new() };
                    batch_frame(batch_id, batch_result::Outcome::Results(results))
                }
                None => Outgoing::Batch(BatchAnswer { batch_id, at, published, errors }),
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

fn batch_frame(batch_id: u64, outcome: batch_result::Outcome) -> Outgoing {
    Outgoing::Frame(out::Frame::BatchResult(BatchResult { batch_id, outcome: Some(outcome) }))
}

/// The short answer, when all messages were stored in a row.
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

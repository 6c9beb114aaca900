//! The protocol of a publish stream. Many batches are on their way to the disk at once, and answered in their order.

use std::{pin::Pin, sync::Arc};

use futures_util::{FutureExt as _, StreamExt as _, future::OptionFuture, stream::FuturesOrdered};
use posthouse_proto::v1::{
    ErrorReason, ProducerSession, PublishStreamRequest,
    publish_stream_request::{Batch, Frame, Open, Producer},
    publish_stream_response::{self as out, Opened},
};

use crate::{
    account::Charge,
    identity::Principal,
    policy::{Admission, Permit, methods},
    rpc::{
        context::{Context, queue_name},
        layers::intake::{Arrived, RequestFrames},
        publish::{
            answer::{PublishFrame, Undecided, answer},
            batch::{check_producer, propose},
            target::PublishTarget,
        },
        stream::{
            connection::PROTOCOL_VERSION,
            outbox::{ChargedFrame, Outbox, OutboxState, PendingAnswer},
            task::{Next, Protocol, StreamTask},
        },
        wire::{convert, status::ApiError},
    },
};

/// Batches of one stream that are proposed and not answered. While there are so many, no further frame is read.
const MAX_PENDING_BATCHES: usize = 64;

type Proposing = Pin<Box<dyn Future<Output = Undecided> + Send>>;

/// A publish stream after its Open.
pub(super) struct Publishing {
    target: Arc<PublishTarget>,
    producer: Option<Producer>,
    with_message_ids: bool,
    /// A batch that waits for the fair gate. The next frame is not read before it has passed.
    proposing: Option<Proposing>,
    answers: FuturesOrdered<PendingAnswer<PublishFrame>>,
    /// Whether the last batch waited for a record slot in vain. The next batch does not wait then.
    waited: bool,
}

/// An event of a publish stream.
pub(super) enum PublishEvent {
    /// The answer to the next batch, in order.
    Answered(ChargedFrame<PublishFrame>),
    /// The batch that waited, which is proposed or refused now.
    Proposed(Undecided),
    /// A frame from the client.
    Request(Arrived<PublishStreamRequest>),
    /// The client has ended its half.
    End,
}

impl Protocol for Publishing {
    type Method = methods::PublishStream;
    type Right = methods::Publishing;
    type Request = PublishStreamRequest;
    type Open = Open;
    type Frame = PublishFrame;
    type Event = PublishEvent;
    type Rest = ();

    fn first(request: PublishStreamRequest) -> Option<Open> {
        match request.frame {
            Some(Frame::Open(open)) => Some(open),
            _ => None,
        }
    }

    async fn open(
        task: &StreamTask,
        admission: &Admission<methods::PublishStream>,
        open: Open,
        out: &mut Outbox<PublishFrame>,
    ) -> Result<Self, ApiError> {
        task.opens(&open.queue, open.protocol_version)?;
        admission.permit(&queue_name("queue", &open.queue)?)?;
        task.check_not_draining()?;
        let (connection, retained) = (&task.connection.identity, task.connection.accounts.retained.clone());
        let target = PublishTarget::open(&task.context, admission, connection, retained, &open.queue).await?;
        let next_sequence = match &open.producer {
            None => 0,
            Some(producer) => next_sequence(&task.context, &target, admission.principal(), producer).await?,
        };
        let max_message_bytes = target.max_message_bytes();
        let queue_uid = convert::queue_uid(target.queue.at);
        let opened =
            Opened { protocol_version: PROTOCOL_VERSION, next_sequence, max_message_bytes, queue_uid };
        out.send(PublishFrame::Frame(out::Frame::Opened(opened)));
        Ok(Self {
            target: Arc::new(target),
            producer: open.producer,
            with_message_ids: open.tell_message_ids,
            proposing: None,
            answers: FuturesOrdered::new(),
            waited: false,
        })
    }

    fn permit(&self) -> &Permit<methods::Publishing> {
        &self.target.permit
    }

    async fn next(
        &mut self,
        _: &StreamTask,
        requests: &mut RequestFrames<PublishStreamRequest>,
        outbox: OutboxState,
    ) -> Result<PublishEvent, ApiError> {
        let listens =
            self.proposing.is_none() && self.answers.len() < MAX_PENDING_BATCHES && outbox.has_capacity;
        tokio::select! {
            Some(answer) = self.answers.next() => answer.map(PublishEvent::Answered),
            Some(undecided) = OptionFuture::from(self.proposing.as_mut()) => {
                self.proposing = None;
                Ok(PublishEvent::Proposed(undecided))
            }
            arrived = requests.next(), if listens => {
                Ok(arrived?.map_or(PublishEvent::End, PublishEvent::Request))
            }
            else => std::future::pending().await,
        }
    }

    async fn handle(
        &mut self,
        task: &StreamTask,
        event: PublishEvent,
        out: &mut Outbox<PublishFrame>,
    ) -> Result<Next, ApiError> {
        match event {
            PublishEvent::Answered(answered) => out.answer(answered),
            PublishEvent::Proposed(undecided) => self.proposed(undecided),
            PublishEvent::Request(arrived) => self.handle_request(task, arrived, out)?,
            PublishEvent::End => return Ok(Next::End),
        }
        Ok(Next::Continue)
    }

    async fn close(
        self,
        _: &StreamTask,
        _: &mut RequestFrames<PublishStreamRequest>,
        out: &mut Outbox<PublishFrame>,
        ended: Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let Self { proposing, mut answers, .. } = self;
        if let Some(proposing) = proposing {
            answers.push_back(Box::pin(proposing.then(answer)));
        }
        let answered = out.finish(answers).await;
        ended.and(answered)
    }
}

impl Publishing {
    /// Queues the answer of a batch that was proposed or refused.
    fn proposed(&mut self, undecided: Undecided) {
        let unrecorded = |error: &ApiError| error.reason() == ErrorReason::AccessNotRecorded;
        self.waited = undecided.proposed.as_ref().is_err_and(unrecorded);
        self.answers.push_back(Box::pin(answer(undecided)));
    }

    fn handle_request(
        &mut self,
        task: &StreamTask,
        Arrived { request, charge }: Arrived<PublishStreamRequest>,
        out: &mut Outbox<PublishFrame>,
    ) -> Result<(), ApiError> {
        match request.frame {
            Some(Frame::Batch(batch)) => {
                let mut proposing = Box::pin(self.propose(task, batch, charge));
                // Most batches pass the fair gate at once.
                match proposing.as_mut().now_or_never() {
                    Some(undecided) => self.proposed(undecided),
                    None => self.proposing = Some(proposing),
                }
            }
            Some(Frame::RefreshToken(refresh)) => {
                let (permit, refreshed) = task.refresh(&self.target.permit, &refresh)?;
                self.target = Arc::new(self.target.with(permit));
                out.send(refreshed.into());
            }
            Some(Frame::Open(_)) => return Err(ApiError::frame("Open is for the first frame only")),
            None => return Err(ApiError::frame("the frame is of a kind this server does not know")),
        }
        Ok(())
    }

    fn propose(
        &self,
        task: &StreamTask,
        batch: Batch,
        charge: Charge,
    ) -> impl Future<Output = Undecided> + Send + 'static {
        let Batch { batch_id, messages, first_sequence, atomic } = batch;
        let (context, target, waited) = (Arc::clone(&task.context), Arc::clone(&self.target), self.waited);
        let with_message_ids = self.with_message_ids;
        let producer = self.producer.clone().map(|Producer { producer_id, epoch }| ProducerSession {
            producer_id,
            epoch,
            first_sequence,
        });
        async move {
            let proposed = propose(&context, &target, messages, producer, atomic, waited).await;
            Undecided { context, batch_id, target, with_message_ids, proposed, charge }
        }
    }
}

async fn next_sequence(
    context: &Context,
    target: &PublishTarget,
    principal: &Principal,
    producer: &Producer,
) -> Result<u64, ApiError> {
    check_producer(&producer.producer_id, producer.epoch)?;
    let (at, id, epoch) = (target.queue.at, producer.producer_id.clone(), producer.epoch);
    let (tenant, subject) = (target.queue.department.tenant.0, principal.subject.clone());
    let read = context.shards.query(target.queue.department.origin(), move |m, kv| {
        m.producer_next(kv, at, &id, epoch, tenant, &subject)
    });
    Ok(read.await???)
}

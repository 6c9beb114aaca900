//! The protocol of a consume stream.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use posthouse_proto::v1::{
    ConsumeRequest, Heartbeat, OpenConsume, consume_request as from, consume_response as out,
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    account::Wanted,
    dispatch::{SessionEvent, SessionHandle, SessionOpen},
    limits,
    policy::{Admission, Permit, methods},
    rpc::{
        consume::{
            backlog::Backlog, credit::CreditBalance, frames::ConsumeFrame, recording::Recording,
            session_events::SessionEvents, source::Source,
        },
        layers::intake::{Arrived, RequestFrames},
        stream::{
            outbox::{ChargedFrame, Disconnected, Outbox, OutboxState, PendingAnswer},
            task::{Next, Protocol, StreamTask},
        },
        wire::status::ApiError,
    },
};

/// Settle and extend frames of one stream that are not answered. While there are so many, no further frame is read.
const MAX_PENDING_SETTLES: usize = 64;
/// How long settlements are still read from a client that has disconnected.
const LAST_SETTLEMENTS_TIMEOUT: Duration = Duration::from_secs(5);
/// Leases whose bodies are not read yet. While there are so many, no further ones are accepted from dispatch.
pub(super) const MAX_BACKLOG: usize = 512;

/// A consume stream after its Open.
pub(super) struct Consuming {
    pub(super) source: Arc<Source>,
    pub(super) session: SessionHandle,
    pub(super) events: SessionEvents,
    pub(super) answers: FuturesOrdered<PendingAnswer<ConsumeFrame>>,
    pub(super) backlog: Backlog,
    pub(super) recording: Recording,
    pub(super) balance: CreditBalance,
    pub(super) lease_duration_ms: u64,
}

/// An event of a consume stream.
pub(super) enum ConsumeEvent {
    /// The answer to the next settlement or extension, in order.
    Answered(ChargedFrame<ConsumeFrame>),
    /// A frame from the client.
    Request(Arrived<ConsumeRequest>),
    /// The client has ended its half.
    End,
    /// An event from dispatch.
    Session(SessionEvent),
    /// Leases of the backlog can be delivered.
    Deliver,
    /// The accounts have capacity for deliveries again.
    Capacity,
}

impl Protocol for Consuming {
    type Method = methods::Consume;
    type Right = methods::Consuming;
    type Request = ConsumeRequest;
    type Open = OpenConsume;
    type Frame = ConsumeFrame;
    type Event = ConsumeEvent;
    /// The session, whose leases are released once the client has read the answers.
    type Rest = SessionHandle;

    fn first(request: ConsumeRequest) -> Option<OpenConsume> {
        match request.frame {
            Some(from::Frame::Open(open)) => Some(open),
            _ => None,
        }
    }

    async fn open(
        task: &StreamTask,
        admission: &Admission<methods::Consume>,
        open: OpenConsume,
        _: &mut Outbox<ConsumeFrame>,
    ) -> Result<Self, ApiError> {
        task.opens(&open.queue, open.protocol_version)?;
        let context = &*task.context;
        if open.session_id.len() != limits::SESSION_ID_BYTES {
            return Err(ApiError::session_id("session_id", &open.session_id));
        }
        let source =
            Source::open(context, admission, &open.queue, &open.subscription, &open.session_id).await?;
        task.check_not_draining()?;
        let lease_duration_ms = source.lease_duration_ms(open.lease_duration.as_ref())?;
        let mut balance = CreditBalance::default();
        let credit = balance.add(&open.credit.unwrap_or_default())?;
        let (sender, events) = mpsc::unbounded_channel();
        let session = SessionOpen {
            key: context.session_key(),
            subscription: source.at,
            holder: source.holder.clone(),
            lease_duration_ms,
            credit,
            events: sender,
        };
        let session = context.shards.open_session(source.queue.department.origin(), session);
        Ok(Self {
            source: Arc::new(source),
            session,
            events: SessionEvents::new(events),
            answers: FuturesOrdered::new(),
            backlog: Backlog::default(),
            recording: Recording::new(&context.observer),
            balance,
            lease_duration_ms,
        })
    }

    fn permit(&self) -> &Permit<methods::Consuming> {
        &self.source.permit
    }

    async fn next(
        &mut self,
        task: &StreamTask,
        requests: &mut RequestFrames<ConsumeRequest>,
        OutboxState { clear, has_capacity }: OutboxState,
    ) -> Result<ConsumeEvent, ApiError> {
        let deliveries = &task.connection.accounts.deliveries;
        let waits = clear && !self.backlog.is_empty();
        let delivers = waits && deliveries.has_capacity(Wanted::One);
        if !delivers {
            // A stream whose client does not read releases its record slots to others.
            self.recording.forget();
        }
        let listens = has_capacity && self.answers.len() < MAX_PENDING_SETTLES;
        // No answer is sent before all resumed leases are: a client that settles a delivery it still has would mistake
        // a resumed delivery behind the answer for a new one.
        let resumed = !self.backlog.is_resuming();
        let accepts_leases = clear && resumed && self.backlog.len() < MAX_BACKLOG;
        tokio::select! {
            Some(answer) = self.answers.next(), if resumed => answer.map(ConsumeEvent::Answered),
            arrived = requests.next(), if listens => {
                Ok(arrived?.map_or(ConsumeEvent::End, ConsumeEvent::Request))
            }
            // Other streams of the connection or the tenant use all the capacity for unread bytes.
            () = deliveries.clone().capacity(Wanted::One), if waits && !delivers => Ok(ConsumeEvent::Capacity),
            event = self.events.next(accepts_leases) => {
                event.ok_or_else(ApiError::draining).map(ConsumeEvent::Session)
            }
            () = self.recording.ready(self.backlog.next()), if delivers => Ok(ConsumeEvent::Deliver),
        }
    }

    async fn handle(
        &mut self,
        task: &StreamTask,
        event: ConsumeEvent,
        out: &mut Outbox<ConsumeFrame>,
    ) -> Result<Next, ApiError> {
        match event {
            ConsumeEvent::Answered(answered) => out.answer(answered),
            ConsumeEvent::Request(arrived) => self.handle_request(task, arrived, out)?,
            ConsumeEvent::End => return Ok(Next::End),
            ConsumeEvent::Session(event) => return self.handle_session_events(event, out),
            ConsumeEvent::Deliver => self.deliver(task, out).await?,
            ConsumeEvent::Capacity => {}
        }
        Ok(Next::Continue)
    }

    /// Returns leases whose deliveries cannot be recorded, so that other consumers get them once records are written
    /// again. They were not sent, so they do not count as attempts. Leases of an earlier stream may have been sent, and
    /// stay.
    fn tick(&mut self, task: &StreamTask) {
        if !self.recording.is_late() {
            return;
        }
        let unsent = self.backlog.remove_unsent();
        self.session.return_leases(unsent.iter().map(|leased| leased.live).collect());
        task.context.observer.metrics.own.access_released.inc_by(unsent.len() as u64);
        let credit = self.balance.sent(unsent.len(), &unsent);
        self.add_credit(credit);
        if self.backlog.is_empty() {
            self.recording.forget();
        }
    }

    fn heartbeat() -> Option<ConsumeFrame> {
        Some(out::Frame::Heartbeat(Heartbeat {}).into())
    }

    async fn close(
        mut self,
        task: &StreamTask,
        requests: &mut RequestFrames<ConsumeRequest>,
        out: &mut Outbox<ConsumeFrame>,
        ended: Result<(), ApiError>,
    ) -> Result<SessionHandle, ApiError> {
        if out.is_disconnected() {
            // Frames that have arrived are still read.
            let _ = timeout(LAST_SETTLEMENTS_TIMEOUT, self.settle_rest(task, requests)).await;
        }
        let Self { session, events, answers, backlog, .. } = self;
        // Leases that were not sent are returned, for other consumers. Those that may have reached the client stay.
        session.stop(backlog.unread().chain(events.unread()).collect());
        out.retain(|outgoing| !outgoing.is_deliveries());
        // After an error, the session is dropped and keeps its leases.
        let answered = out.finish(answers).await;
        ended.and(answered)?;
        match timeout(limits::CANCEL_GRACE, out.disconnected()).await {
            Ok(Disconnected) => Err(ApiError::frame("the client has gone away")),
            Err(_) => Ok(session),
        }
    }
}

impl Consuming {
    /// Makes the settlements that arrived before the client disconnected, although nobody reads the answers.
    async fn settle_rest(&mut self, task: &StreamTask, requests: &mut RequestFrames<ConsumeRequest>) {
        loop {
            let listens = self.answers.len() < MAX_PENDING_SETTLES;
            tokio::select! {
                Some(_) = self.answers.next(), if !listens => {}
                arrived = requests.next(), if listens => {
                    let Ok(Some(Arrived { request, charge })) = arrived else { return };
                    if let Some(from::Frame::Settle(frame)) = request.frame {
                        self.settle(task, frame, charge);
                    }
                }
            }
        }
    }
}

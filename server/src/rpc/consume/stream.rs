//! A consume stream: leases out, settlements in.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use posthouse_proto::v1::{
    ConsumeOpened, ConsumeRequest, Heartbeat, Idle, OpenConsume, consume_request as from,
    consume_response as out,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    account::{Charge, Wanted},
    dispatch::{Credit, SessionEvent, SessionHandle, SessionOpen},
    limits,
    policy::{Admission, Permit, methods},
    rpc::{
        consume::{
            backlog::{Backlog, Frame},
            credit::Balance,
            outgoing::{Deliveries, Outgoing, UnsentDeliveries},
            recording::Recording,
            session_events::{SessionEvents, ended},
            source::Source,
        },
        context,
        layers::intake::{Arrived, RequestFrames},
        stream::{
            connection::PROTOCOL_VERSION,
            outbox::{Gone, Outbox, OutboxState},
            task::{Next, Protocol, StreamTask},
        },
        wire::{convert, status::ApiError},
    },
};

/// Settle and extend frames of one stream that are not answered; beyond, the client waits.
const MAX_PENDING_SETTLES: usize = 64;
/// How long settlements are still read from a client that has gone away.
const LAST_SETTLEMENTS_TIMEOUT: Duration = Duration::from_secs(5);
/// Leases whose bodies are not read yet; beyond, no more are taken from dispatch.
const MAX_BACKLOG: usize = 512;

/// An answer, and what is charged for it.
pub(super) type Answered = (Outgoing, Charge);
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Answered, ApiError>> + Send>>;

/// A consume stream after its Open.
pub(super) struct Consuming {
    pub(super) source: Arc<Source>,
    pub(super) session: SessionHandle,
    events: SessionEvents,
    pub(super) answers: FuturesOrdered<Answer>,
    backlog: Backlog,
    recording: Recording,
    pub(super) balance: Balance,
    lease_duration_ms: u64,
}

/// What a consume stream waits for.
pub(super) enum Event {
    /// The next settlement or extension in order is answered.
    Answered(Answered),
    /// The client has sent something.
    Request(Arrived<ConsumeRequest>),
    /// The client has ended its half.
    End,
    /// Dispatch has sent something.
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
    type Outgoing = Outgoing;
    type Event = Event;
    /// The session, whose leases are to be released when the client has taken the answers.
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
        _: &mut Outbox<Outgoing>,
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
        let mut balance = Balance::default();
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
    ) -> Result<Event, ApiError> {
        let deliveries = &task.connection.accounts.deliveries;
        let waits = clear && !self.backlog.is_empty();
        let delivers = waits && deliveries.has_capacity(Wanted::One);
        if !delivers {
            // A client that does not read keeps no slots for records from others.
            self.recording.forget();
        }
        let listens = has_capacity && self.answers.len() < MAX_PENDING_SETTLES;
        // A client that settles what it still had would take a delivery behind the confirmation for a new one.
        let resumed = !self.backlog.is_resuming();
        let takes_leases = clear && resumed && self.backlog.len() < MAX_BACKLOG;
        tokio::select! {
            Some(answer) = self.answers.next(), if resumed => answer.map(Event::Answered),
            arrived = requests.next(), if listens => Ok(arrived?.map_or(Event::End, Event::Request)),
            // Others of the connection, or of the tenant, have all the unread bytes that they may have.
            () = deliveries.clone().capacity(Wanted::One), if waits && !delivers => Ok(Event::Capacity),
            event = self.events.next(takes_leases) => event.ok_or_else(ApiError::draining).map(Event::Session),
            () = self.recording.ready(self.backlog.next()), if delivers => Ok(Event::Deliver),
        }
    }

    async fn handle(
        &mut self,
        task: &StreamTask,
        event: Event,
        out: &mut Outbox<Outgoing>,
    ) -> Result<Next, ApiError> {
        match event {
            Event::Answered(answered) => out.answer(answered),
            Event::Request(arrived) => self.handle_request(task, arrived, out)?,
            Event::End => return Ok(Next::End),
            Event::Session(event) => return self.handle_session_events(event, out),
            Event::Deliver => self.deliver(task, out).await?,
            Event::Capacity => {}
        }
        Ok(Next::Continue)
    }

    /// What cannot be recorded does not leave; others may have it when records are taken again. It was not tried, so it does
    /// not count. What an earlier stream of the session may have been sent stays leased to it.
    fn tick(&mut self, task: &StreamTask) {
        if !self.recording.is_late() {
            return;
        }
        let unsent = self.backlog.take_unsent();
        self.session.return_leases(unsent.iter().map(|leased| leased.live).collect());
        task.context.observer.metrics.own.access_released.inc_by(unsent.len() as u64);
        let credit = self.balance.sent(unsent.len(), &unsent);
        self.add_credit(credit);
        if self.backlog.is_empty() {
            self.recording.forget();
        }
    }

    fn heartbeat() -> Option<Outgoing> {
        Some(out::Frame::Heartbeat(Heartbeat {}).into())
    }

    async fn close(
        mut self,
        task: &StreamTask,
        requests: &mut RequestFrames<ConsumeRequest>,
        out: &mut Outbox<Outgoing>,
        ended: Result<(), ApiError>,
    ) -> Result<SessionHandle, ApiError> {
        if out.is_gone() {
            // It ends with the body, whose rest is here.
            let _ = timeout(LAST_SETTLEMENTS_TIMEOUT, self.settle_rest(task, requests)).await;
        }
        let Self { session, events, answers, backlog, .. } = self;
        // No more is delivered, and what has not left goes to others. What may have reached the client stays leased.
        session.stop(backlog.unread().chain(events.unread()).collect());
        out.retain(|outgoing| !outgoing.is_deliveries());
        // A session that is dropped keeps its leases.
        let answered = out.finish(answers).await;
        ended.and(answered)?;
        match timeout(limits::CANCEL_GRACE, out.gone()).await {
            Ok(Gone) => Err(ApiError::frame("the client has gone away")),
            Err(_) => Ok(session),
        }
    }
}

impl Consuming {
    /// Makes the settlements that had come before the client went away, although nobody hears of it.
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

    async fn deliver(&mut self, task: &StreamTask, out: &mut Outbox<Outgoing>) -> Result<(), ApiError> {
        // The right is checked again here, not only when the stream was opened.
        self.source.permit.check_again(context::now())?;
        let slots = self.recording.take();
        // Before they are read, so that a hundred streams do not find the same capacity.
        let expected = self.backlog.next_bytes(&task.context, &self.source)?;
        let mut charge = task.connection.accounts.deliveries.charge(expected);
        let read = self.backlog.read(&task.context, &self.source, slots).await?;
        charge.set(read.frames.iter().map(|frame| frame.bytes).sum());
        // None of them was leased later.
        let leased_until = Instant::now() + Duration::from_millis(self.lease_duration_ms);
        for Frame { batch, leases, bytes } in read.frames {
            let (leases, charge) = (self.session.unsent(leases), charge.split(bytes));
            let unsent = UnsentDeliveries { leases, _charge: charge };
            out.deliver(Outgoing::Deliveries(Deliveries { batch, unsent }), leased_until.into_std());
        }
        let credit = self.balance.sent(read.count, &read.gone);
        self.add_credit(credit);
        Ok(())
    }

    /// Handles an event of dispatch, and those that are there already: small grants leave together.
    fn handle_session_events(
        &mut self,
        first: SessionEvent,
        out: &mut Outbox<Outgoing>,
    ) -> Result<Next, ApiError> {
        let mut next = self.handle_session_event(first, out)?;
        while matches!(next, Next::Continue)
            && !self.backlog.is_resuming()
            && self.backlog.len() < MAX_BACKLOG
            && let Some(event) = self.events.next_now()
        {
            next = self.handle_session_event(event, out)?;
        }
        Ok(next)
    }

    fn handle_session_event(
        &mut self,
        event: SessionEvent,
        out: &mut Outbox<Outgoing>,
    ) -> Result<Next, ApiError> {
        match event {
            SessionEvent::Resumed(leased) => {
                let opened = ConsumeOpened {
                    protocol_version: PROTOCOL_VERSION,
                    lease_duration: Some(convert::duration(self.lease_duration_ms)),
                    resumed_leases: u32::try_from(leased.len()).unwrap_or(u32::MAX),
                    queue_uid: convert::queue_uid(self.source.at.queue),
                };
                out.send(out::Frame::Opened(opened).into());
                self.balance.take(&leased);
                self.backlog.push(leased, true);
            }
            SessionEvent::Granted(leased) => {
                self.balance.take(&leased);
                self.backlog.push(leased, false);
            }
            SessionEvent::Idle { waiting, parked } => {
                // The settlements that made it so are decided: their answers come first.
                while let Some(Some(answer)) = self.answers.next().now_or_never() {
                    out.answer(answer?);
                }
                out.send(out::Frame::Idle(Idle { waiting, parked }).into());
            }
            SessionEvent::Drain => return Ok(Next::Drain),
            ended_by => return Err(ended(&ended_by)),
        }
        Ok(Next::Continue)
    }

    /// Gives dispatch more credit.
    pub(super) fn add_credit(&self, credit: Credit) {
        if credit.messages > 0 || credit.bytes > 0 {
            self.session.add_credit(credit);
        }
    }
}

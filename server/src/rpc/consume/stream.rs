//! A consume stream: leases out, settlements in.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream::FuturesOrdered};
use posthouse_proto::v1::{
    ConsumeOpened, ConsumeRequest, ConsumeResponse, Drain, Heartbeat, Idle, OpenConsume,
    consume_request as from, consume_response as out,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};
use tonic::Status;

use crate::{
    account::{Charge, Wanted},
    dispatch::{Credit, SessionEvent, SessionHandle, SessionOpen},
    door::Departure,
    identity::TokenVerifier,
    limits,
    policy::{Admission, methods},
    rpc::{
        consume::{
            backlog::{Backlog, Frame},
            credit::Balance,
            outgoing::{Deliveries, Outgoing, UnsentDeliveries},
            recording::Recording,
            session_events::{Told, ended},
            source::Source,
        },
        context::Context,
        layers::{
            intake::{Arrived, Frames},
            watch::Call,
        },
        stream::{
            connection::{
                Connection, DRAIN_PATIENCE, HEARTBEAT, PROTOCOL_VERSION, check_version, first_frame, ticks,
            },
            outbox::{Gone, Outlet, outlet},
        },
        wire::{convert, status::ApiError},
    },
};

/// Settle and extend frames of one stream on their way; beyond, the client waits.
const MAX_SETTLES_ON_THEIR_WAY: usize = 64;
/// How long settlements are still taken from a client that has gone away.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(5);
/// Leases that wait for their bodies; beyond, no more are taken from dispatch.
const MAX_BACKLOG: usize = 512;

/// An answer, and what is charged for it.
pub(super) type Answered = (Outgoing, Charge);
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Answered, ApiError>> + Send>>;

/// One consume stream.
pub(crate) struct ConsumeStream {
    pub(super) context: Arc<Context>,
    pub(super) tokens: Arc<TokenVerifier>,
    pub(super) connection: Connection,
    call: Option<Arc<Call>>,
}

/// A stream after its Open.
pub(super) struct Open {
    pub(super) source: Arc<Source>,
    pub(super) session: SessionHandle,
    told: Told,
    pub(super) answers: FuturesOrdered<Answer>,
    backlog: Backlog,
    recording: Recording,
    pub(super) balance: Balance,
    lease_duration_ms: u64,
    /// When the stream ends, once it was told to drain.
    drained: Option<Instant>,
}

impl ConsumeStream {
    pub(crate) fn new(
        context: Arc<Context>,
        tokens: Arc<TokenVerifier>,
        connection: Connection,
        call: Option<Arc<Call>>,
    ) -> Self {
        Self { context, tokens, connection, call }
    }

    /// Runs the stream in a task of its own; what it sends comes out here, and what follows when the network takes it.
    pub(crate) fn run(
        self,
        admission: Admission<methods::Consume>,
        requests: Frames<ConsumeRequest>,
    ) -> (impl Stream<Item = Result<ConsumeResponse, Status>> + Send + 'static, Departure) {
        let (mut out, frames) = outlet(self.connection.task.clone(), &self.connection.accounts);
        let (ended_well, mut session) = oneshot::channel::<SessionHandle>();
        let streams = self.context.streams.clone();
        streams.spawn(async move {
            let ended = self.serve(&admission, requests, &mut out).await;
            out.end(ended.map(|session| {
                // A session that nobody takes over keeps its leases.
                drop(ended_well.send(session));
            }));
        });
        let departure = Departure::before_the_end(move || {
            // It was sent before the stream's end, if at all.
            if let Ok(session) = session.try_recv() {
                session.close_clean();
            }
        });
        let watched = departure.clone();
        (frames.map_ok(move |outgoing: Outgoing| outgoing.depart(&watched)), departure)
    }

    /// Serves the stream to its end. After the client's clean end, the session, whose leases are to be released when the
    /// client has taken the answers.
    async fn serve(
        &self,
        admission: &Admission<methods::Consume>,
        mut requests: Frames<ConsumeRequest>,
        out: &mut Outlet<Outgoing>,
    ) -> Result<SessionHandle, ApiError> {
        let first = first_frame(&mut requests, &self.connection.leaving).await?;
        let Some(from::Frame::Open(open)) = first.and_then(|f| f.frame) else {
            return Err(ApiError::frame("the first frame must be Open"));
        };
        let mut open = self.open(admission, open).await?;
        let ended = self.exchange(&mut open, &mut requests, out).await;
        if out.is_gone() {
            // It ends with the body, whose rest is here.
            let _ = timeout(LAST_SETTLEMENTS, self.settle_rest(&mut open, &mut requests)).await;
        }
        let Open { session, told, answers, backlog, .. } = open;
        // No more is delivered, and what has not left goes to others. What may have reached the client stays leased.
        session.stop(backlog.unread().chain(told.unread()).collect());
        out.retain(|outgoing| !outgoing.is_deliveries());
        // What was accepted is answered, however the stream ends. A session that is dropped keeps its leases.
        let answered = out.finish(answers).await;
        ended.and(answered)?;
        match timeout(limits::CANCEL_GRACE, out.gone()).await {
            Ok(Gone) => Err(ApiError::frame("the client has gone away")),
            Err(_) => Ok(session),
        }
    }

    async fn open(
        &self,
        admission: &Admission<methods::Consume>,
        open: OpenConsume,
    ) -> Result<Open, ApiError> {
        if let Some(call) = &self.call {
            call.is_about(&open.queue);
        }
        check_version(open.protocol_version)?;
        if open.session_id.len() != limits::SESSION_ID_BYTES {
            return Err(ApiError::session_id("session_id", &open.session_id));
        }
        let source =
            Source::open(&self.context, admission, &open.queue, &open.subscription, &open.session_id).await?;
        if self.connection.leaving.is_cancelled() {
            return Err(ApiError::draining());
        }
        let lease_duration_ms = source.lease_duration_ms(open.lease_duration.as_ref())?;
        let mut balance = Balance::default();
        let credit = balance.add(&open.credit.unwrap_or_default())?;
        let (events, told) = mpsc::unbounded_channel();
        let session = SessionOpen {
            key: self.context.session_key(),
            subscription: source.at,
            holder: source.holder.clone(),
            lease_duration_ms,
            credit,
            events,
        };
        let session = self.context.shards.open_session(source.queue.department.origin(), session);
        let (answers, backlog) = (FuturesOrdered::new(), Backlog::default());
        let source = Arc::new(source);
        Ok(Open {
            source,
            session,
            told: Told::new(told),
            answers,
            backlog,
            recording: Recording::new(&self.context.observer),
            balance,
            lease_duration_ms,
            drained: None,
        })
    }

    /// Until the client's clean end. Nothing in here waits for the client to read.
    async fn exchange(
        &self,
        open: &mut Open,
        requests: &mut Frames<ConsumeRequest>,
        out: &mut Outlet<Outgoing>,
    ) -> Result<(), ApiError> {
        let mut ticks = ticks();
        loop {
            let (clear, room) = (out.is_clear(), out.has_room());
            let deliveries = &self.connection.accounts.deliveries;
            let wanted = clear && !open.backlog.is_empty();
            let deliver = wanted && deliveries.has_room(Wanted::One);
            if !deliver {
                // A client that does not read keeps no places from others.
                open.recording.forget();
            }
            // A client that settles what it still had would take a delivery behind the confirmation for a new one.
            let resumed = !open.backlog.is_resuming();
            tokio::select! {
                flowed = out.flow() => flowed.map_err(|Gone| ApiError::frame("the client has gone away"))?,
                _ = ticks.tick() => self.look_around(open, out)?,
                Some(answer) = open.answers.next(), if resumed => out.answer(answer?),
                arrived = requests.next(), if room && open.answers.len() < MAX_SETTLES_ON_THEIR_WAY => {
                    let Some(arrived) = arrived? else { return Ok(()) };
                    self.take(open, arrived, out)?;
                }
                // Others of the connection, or of the tenant, have as much as they may that is not read.
                () = deliveries.clone().room(Wanted::One), if wanted && !deliver => {}
                event = open.told.next(clear && resumed && open.backlog.len() < MAX_BACKLOG) => {
                    hear(open, event.ok_or_else(ApiError::draining)?, out)?;
                    // Small grants leave together.
                    while !open.backlog.is_resuming()
                        && open.backlog.len() < MAX_BACKLOG
                        && let Some(event) = open.told.next_now()
                    {
                        hear(open, event, out)?;
                    }
                }
                () = open.recording.ready(open.backlog.next()), if deliver => self.deliver(open, out).await?,
            }
        }
    }

    /// Makes the settlements that had come before the client went away, although nobody hears of it.
    async fn settle_rest(&self, open: &mut Open, requests: &mut Frames<ConsumeRequest>) {
        loop {
            let room = open.answers.len() < MAX_SETTLES_ON_THEIR_WAY;
            tokio::select! {
                Some(_) = open.answers.next(), if !room => {}
                arrived = requests.next(), if room => {
                    let Ok(Some(Arrived { request, charge })) = arrived else { return };
                    if let Some(from::Frame::Settle(frame)) = request.frame {
                        self.settle(open, frame, charge);
                    }
                }
            }
        }
    }

    /// What only time tells.
    fn look_around(&self, open: &mut Open, out: &mut Outlet<Outgoing>) -> Result<(), ApiError> {
        open.source.permit.check_again(SystemTime::now())?;
        if out.is_stuck() {
            return Err(out.cut_off());
        }
        if open.recording.is_late() {
            self.give_back(open);
        }
        if self.connection.leaving.is_cancelled() {
            drain(open, out);
        }
        if open.drained.is_some_and(|end| end <= Instant::now()) {
            // Leases stay: the session takes them up again on a server that is not draining.
            return Err(ApiError::draining());
        }
        if out.silence() >= HEARTBEAT {
            out.send(out::Frame::Heartbeat(Heartbeat {}).into());
        }
        Ok(())
    }

    /// What cannot be recorded does not leave; others may have it when records are taken again. It was not tried, so it does not
    /// count. What an earlier stream of the session may have been sent stays leased to it.
    fn give_back(&self, open: &mut Open) {
        let unsent = open.backlog.take_unsent();
        open.session.give_back(unsent.iter().map(|leased| leased.live).collect());
        self.context.observer.metrics.own.access_released.inc_by(unsent.len() as u64);
        give(&open.session, open.balance.sent(unsent.len(), &unsent));
        if open.backlog.is_empty() {
            open.recording.forget();
        }
    }

    async fn deliver(&self, open: &mut Open, out: &mut Outlet<Outgoing>) -> Result<(), ApiError> {
        // The right is looked at again here, not only when the stream was opened.
        open.source.permit.check_again(SystemTime::now())?;
        let places = open.recording.take();
        // Before they are read, so that a hundred streams do not find the same room.
        let expected = open.backlog.next_bytes(&self.context, &open.source)?;
        let mut charge = self.connection.accounts.deliveries.charge(expected);
        let read = open.backlog.read(&self.context, &open.source, places).await?;
        charge.set(read.frames.iter().map(|frame| frame.bytes).sum());
        // None of them was leased later.
        let leased_until = Instant::now() + Duration::from_millis(open.lease_duration_ms);
        for Frame { batch, leases, bytes } in read.frames {
            let (leases, charge) = (open.session.unsent(leases), charge.split(bytes));
            let unsent = UnsentDeliveries { leases, _charge: charge };
            out.deliver(Outgoing::Deliveries(Deliveries { batch, unsent }), leased_until.into_std());
        }
        give(&open.session, open.balance.sent(read.count, &read.gone));
        Ok(())
    }
}

/// What dispatch has for the client.
fn hear(open: &mut Open, event: SessionEvent, out: &mut Outlet<Outgoing>) -> Result<(), ApiError> {
    match event {
        SessionEvent::Resumed(leased) => {
            let opened = ConsumeOpened {
                protocol_version: PROTOCOL_VERSION,
                lease_duration: Some(convert::duration(open.lease_duration_ms)),
                resumed_leases: u32::try_from(leased.len()).unwrap_or(u32::MAX),
                queue_uid: convert::queue_uid(open.source.at.queue),
            };
            out.send(out::Frame::Opened(opened).into());
            open.balance.take(&leased);
            open.backlog.push(leased, true);
        }
        SessionEvent::Granted(leased) => {
            open.balance.take(&leased);
            open.backlog.push(leased, false);
        }
        SessionEvent::Idle { waiting, parked } => {
            // The settlements that made it so are decided: their answers come first.
            while let Some(Some(answer)) = open.answers.next().now_or_never() {
                out.answer(answer?);
            }
            out.send(out::Frame::Idle(Idle { waiting, parked }).into());
        }
        SessionEvent::Drain => drain(open, out),
        ended_by => return Err(ended(&ended_by)),
    }
    Ok(())
}

/// Tells the client, once, to go on elsewhere.
fn drain(open: &mut Open, out: &mut Outlet<Outgoing>) {
    if open.drained.is_none() {
        open.drained = Some(Instant::now() + DRAIN_PATIENCE);
        out.send(out::Frame::Drain(Drain::default()).into());
    }
}

pub(super) fn give(session: &SessionHandle, credit: Credit) {
    if credit.messages > 0 || credit.bytes > 0 {
        session.add_credit(credit);
    }
}

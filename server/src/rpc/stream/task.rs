//! The task of a stream: one loop for both directions. What a stream is for is its [`Protocol`].

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::Stream;
use posthouse_proto::v1::{Drain, RefreshToken, TokenRefreshed};
use prost_types::Timestamp;
use tokio::{
    sync::oneshot,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tonic::Status;

use crate::{
    door::ConnectionAuth,
    identity::TokenVerifier,
    policy::{Admission, Check, Permit, Rpc},
    rpc::{
        context::Context,
        layers::{auth::verify, call::Call, intake::RequestFrames},
        stream::{
            connection::{Connection, check_version, first_frame},
            outbox::{Gone, Outbox, OutboxState, outbox},
        },
        wire::status::ApiError,
    },
};

/// How long a stream may go on after its client was told to drain it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream on which nothing was sent for so long sends a heartbeat, if its protocol has one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How often a stream checks its token, the drain and its silence. The wall clock may be set: nothing sleeps until a token's end.
const TICK_INTERVAL: Duration = Duration::from_millis(500);

/// What every stream has.
pub(crate) struct StreamTask {
    pub(crate) context: Arc<Context>,
    pub(crate) tokens: Arc<TokenVerifier>,
    pub(crate) connection: Connection,
    call: Option<Arc<Call>>,
}

/// What a stream does after an event.
pub(crate) enum Next {
    /// It waits for the next event.
    Continue,
    /// It tells its client, once, to go on elsewhere.
    Drain,
    /// The client has ended its half.
    End,
}

/// What is sent and received on a stream, and its state after the first frame.
pub(crate) trait Protocol: Sized + Send + 'static {
    /// The method that the stream is a call of.
    type Method: Rpc;
    /// What the permit is for.
    type Right: Check;
    /// The message that a client sends.
    type Request: prost::Message + Default + Send + 'static;
    /// The content of a client's first frame.
    type Open: Send;
    /// What waits in the outbox; it is encoded when it leaves.
    type Outgoing: From<ServerFrame> + Send + Sync + 'static;
    /// What a stream waits for, beside the outbox and the clock.
    type Event: Send;
    /// What a stream leaves behind after its clean end.
    type Rest: Send + 'static;

    /// The first frame of a stream, if it is one.
    fn first(request: Self::Request) -> Option<Self::Open>;

    /// Opens the stream: checks what the client asks for.
    fn open(
        task: &StreamTask,
        admission: &Admission<Self::Method>,
        open: Self::Open,
        out: &mut Outbox<Self::Outgoing>,
    ) -> impl Future<Output = Result<Self, ApiError>> + Send;

    /// What allows it. It is checked at every tick.
    fn permit(&self) -> &Permit<Self::Right>;

    /// The next event. It may be dropped at any moment and called again: nothing is lost. It does not wait for the client to read.
    fn next(
        &mut self,
        task: &StreamTask,
        requests: &mut RequestFrames<Self::Request>,
        outbox: OutboxState,
    ) -> impl Future<Output = Result<Self::Event, ApiError>> + Send;

    /// Handles an event, without waiting for the client to read.
    fn handle(
        &mut self,
        task: &StreamTask,
        event: Self::Event,
        out: &mut Outbox<Self::Outgoing>,
    ) -> impl Future<Output = Result<Next, ApiError>> + Send;

    /// What is due by time alone.
    fn tick(&mut self, _: &StreamTask) {}

    /// What says that a silent stream is alive.
    fn heartbeat() -> Option<Self::Outgoing> {
        None
    }

    /// Answers what was accepted, however the stream `ended`.
    fn close(
        self,
        task: &StreamTask,
        requests: &mut RequestFrames<Self::Request>,
        out: &mut Outbox<Self::Outgoing>,
        ended: Result<(), ApiError>,
    ) -> impl Future<Output = Result<Self::Rest, ApiError>> + Send;
}

/// Frames that the server sends on any stream that has them.
pub(crate) enum ServerFrame {
    /// The client is to go on elsewhere.
    Drain(Drain),
    /// The stream's right is that of a fresh token.
    TokenRefreshed(TokenRefreshed),
}

impl StreamTask {
    pub(crate) fn new<T>(
        context: &Arc<Context>,
        tokens: &Arc<TokenVerifier>,
        request: &tonic::Request<T>,
    ) -> Result<Self, Status> {
        Ok(Self {
            context: Arc::clone(context),
            tokens: Arc::clone(tokens),
            connection: Connection::of(request)?,
            call: request.extensions().get().cloned(),
        })
    }

    /// Runs the stream in a task of its own. What it sends comes out of the first; what is left after its clean end comes
    /// out of the second, before the end of the first.
    #[allow(clippy::type_complexity, reason = "an opaque stream has no name")]
    pub(crate) fn run<P: Protocol>(
        self,
        admission: Admission<P::Method>,
        requests: RequestFrames<P::Request>,
    ) -> (impl Stream<Item = Result<P::Outgoing, Status>> + Send + 'static + use<P>, oneshot::Receiver<P::Rest>)
    {
        let (mut out, frames) = outbox(self.connection.task.clone(), &self.connection.accounts);
        let (sender, rest) = oneshot::channel();
        let streams = self.context.streams.clone();
        streams.spawn(async move {
            let ended = self.serve::<P>(&admission, requests, &mut out).await;
            out.end(ended.map(|rest| drop(sender.send(rest))));
        });
        (frames, rest)
    }

    async fn serve<P: Protocol>(
        &self,
        admission: &Admission<P::Method>,
        mut requests: RequestFrames<P::Request>,
        out: &mut Outbox<P::Outgoing>,
    ) -> Result<P::Rest, ApiError> {
        let first = first_frame(&mut requests, &self.connection.drain_signal).await?;
        let open = first.and_then(P::first).ok_or_else(|| ApiError::frame("the first frame must be Open"))?;
        let mut protocol = P::open(self, admission, open, out).await?;
        let ended = self.exchange(&mut protocol, &mut requests, out).await;
        protocol.close(self, &mut requests, out, ended).await
    }

    /// Runs until the client's end. Nothing in here waits for the client to read, or holds the stream up without an end.
    async fn exchange<P: Protocol>(
        &self,
        protocol: &mut P,
        requests: &mut RequestFrames<P::Request>,
        out: &mut Outbox<P::Outgoing>,
    ) -> Result<(), ApiError> {
        let mut ticks = ticks();
        let mut drained = None;
        loop {
            let state = out.state();
            tokio::select! {
                flowed = out.flow() => flowed.map_err(|Gone| ApiError::frame("the client has gone away"))?,
                _ = ticks.tick() => self.tick(protocol, &mut drained, out)?,
                event = protocol.next(self, requests, state) => match protocol.handle(self, event?, out).await? {
                    Next::Continue => {}
                    Next::Drain => drain(&mut drained, out),
                    Next::End => return Ok(()),
                },
            }
        }
    }

    /// Checks what only time changes.
    fn tick<P: Protocol>(
        &self,
        protocol: &mut P,
        drained: &mut Option<Instant>,
        out: &mut Outbox<P::Outgoing>,
    ) -> Result<(), ApiError> {
        protocol.permit().check_again(SystemTime::now())?;
        if out.is_stuck() {
            return Err(out.cut_off());
        }
        protocol.tick(self);
        if self.connection.drain_signal.is_cancelled() {
            drain(drained, out);
        }
        if drained.is_some_and(|end| end <= Instant::now()) {
            // Leases stay: the session takes them up again on a server that is not draining.
            return Err(ApiError::draining());
        }
        if out.silence() >= HEARTBEAT_INTERVAL
            && let Some(heartbeat) = P::heartbeat()
        {
            out.send(heartbeat);
        }
        Ok(())
    }

    /// Checks the version that a client speaks, and records which queue its stream is about.
    pub(crate) fn opens(&self, queue: &str, version: u32) -> Result<(), ApiError> {
        if let Some(call) = &self.call {
            call.set_resource(queue);
        }
        check_version(version)
    }

    /// Checks that neither the connection nor the server is about to close.
    pub(crate) fn check_not_draining(&self) -> Result<(), ApiError> {
        if self.connection.drain_signal.is_cancelled() { Err(ApiError::draining()) } else { Ok(()) }
    }

    /// The permit that a fresh token gives. It replaces every right of the old one.
    pub(crate) fn refresh<C: Check>(
        &self,
        permit: &Permit<C>,
        RefreshToken { token }: &RefreshToken,
    ) -> Result<(Permit<C>, ServerFrame), ApiError> {
        let auth = self.connection.auth.as_ref();
        let fresh = verify(&self.tokens, token, &self.connection.identity, auth)
            .inspect_err(|_| auth.into_iter().for_each(ConnectionAuth::failed))?;
        let expire_time = Some(Timestamp::from(fresh.expires_at));
        let permit = permit.renew(&fresh)?;
        Ok((permit, ServerFrame::TokenRefreshed(TokenRefreshed { expire_time })))
    }
}

/// Tells the client, once, to go on elsewhere.
fn drain<F: From<ServerFrame>>(drained: &mut Option<Instant>, out: &mut Outbox<F>) {
    if drained.is_none() {
        *drained = Some(Instant::now() + DRAIN_TIMEOUT);
        out.send(ServerFrame::Drain(Drain::default()).into());
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

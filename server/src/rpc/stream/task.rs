//! The task of a stream: one loop for publish and consume streams, which differ in their [`Protocol`].

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
            connection::{StreamConnection, check_version, first_frame},
            outbox::{Disconnected, Outbox, OutboxState, outbox},
        },
        wire::status::ApiError,
    },
};

/// How long a stream may continue after it has sent `Drain` to its client.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream that has sent nothing for so long sends a heartbeat, if its protocol has one.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How often a stream checks its token, the drain and its silence. No stream sleeps until its token expires, because
/// the wall clock may be set meanwhile.
const TICK_INTERVAL: Duration = Duration::from_millis(500);

/// The parts of a stream that do not depend on its protocol.
pub(crate) struct StreamTask {
    pub(crate) context: Arc<Context>,
    pub(crate) tokens: Arc<TokenVerifier>,
    pub(crate) connection: StreamConnection,
    call: Option<Arc<Call>>,
}

/// The step of a stream after an event.
pub(crate) enum Next {
    /// Waits for the next event.
    Continue,
    /// Sends `Drain` to its client, once.
    Drain,
    /// Ends, because the client has ended its half.
    End,
}

/// The frames of a stream, and its state after the first one.
pub(crate) trait Protocol: Sized + Send + 'static {
    /// The method that the stream is a call of.
    type Method: Rpc;
    /// The check that the stream's permit is for.
    type Right: Check;
    /// The message that a client sends.
    type Request: prost::Message + Default + Send + 'static;
    /// The content of a client's first frame.
    type Open: Send;
    /// A frame that the server sends. It is encoded when it is sent.
    type Frame: From<ServerFrame> + Send + Sync + 'static;
    /// An event that the stream waits for, beside those of the outbox and the clock.
    type Event: Send;
    /// The value that a stream returns at its clean end.
    type Rest: Send + 'static;

    /// The content of a client's first frame; `None` if the message is another frame.
    fn first(request: Self::Request) -> Option<Self::Open>;

    /// Opens the stream: checks what the client asks for.
    fn open(
        task: &StreamTask,
        admission: &Admission<Self::Method>,
        open: Self::Open,
        out: &mut Outbox<Self::Frame>,
    ) -> impl Future<Output = Result<Self, ApiError>> + Send;

    /// The permit of the stream. It is checked at every tick.
    fn permit(&self) -> &Permit<Self::Right>;

    /// The next event. The future may be dropped at any time without losing an event. It does not wait for the client
    /// to read.
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
        out: &mut Outbox<Self::Frame>,
    ) -> impl Future<Output = Result<Next, ApiError>> + Send;

    /// Does what only depends on the time.
    fn tick(&mut self, _: &StreamTask) {}

    /// The frame that shows that a silent stream is alive.
    fn heartbeat() -> Option<Self::Frame> {
        None
    }

    /// Answers the requests that were accepted, however the stream `ended`.
    fn close(
        self,
        task: &StreamTask,
        requests: &mut RequestFrames<Self::Request>,
        out: &mut Outbox<Self::Frame>,
        ended: Result<(), ApiError>,
    ) -> impl Future<Output = Result<Self::Rest, ApiError>> + Send;
}

/// Frames that the server sends on streams of either protocol.
pub(crate) enum ServerFrame {
    /// The client is to open its stream on another connection.
    Drain(Drain),
    /// The stream has the rights of a fresh token.
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
            connection: StreamConnection::of(request)?,
            call: request.extensions().get().cloned(),
        })
    }

    /// Runs the stream in a task of its own. Returns the stream of its frames, and the receiver of its `Rest`, which is
    /// sent before the stream of frames ends.
    #[allow(clippy::type_complexity, reason = "an opaque stream has no name")]
    pub(crate) fn run<P: Protocol>(
        self,
        admission: Admission<P::Method>,
        requests: RequestFrames<P::Request>,
    ) -> (impl Stream<Item = Result<P::Frame, Status>> + Send + 'static + use<P>, oneshot::Receiver<P::Rest>)
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
        out: &mut Outbox<P::Frame>,
    ) -> Result<P::Rest, ApiError> {
        let first = first_frame(&mut requests, &self.connection.drain_signal).await?;
        let open = first.and_then(P::first).ok_or_else(|| ApiError::frame("the first frame must be Open"))?;
        let mut protocol = P::open(self, admission, open, out).await?;
        let ended = self.exchange(&mut protocol, &mut requests, out).await;
        protocol.close(self, &mut requests, out, ended).await
    }

    /// Exchanges frames until the client ends its half. No step in here waits for the client to read, or blocks the
    /// stream without a bound.
    async fn exchange<P: Protocol>(
        &self,
        protocol: &mut P,
        requests: &mut RequestFrames<P::Request>,
        out: &mut Outbox<P::Frame>,
    ) -> Result<(), ApiError> {
        let mut ticks = ticks();
        let mut drained = None;
        loop {
            let state = out.state();
            tokio::select! {
                flowed = out.flow() => {
                    flowed.map_err(|Disconnected| ApiError::frame("the client has gone away"))?;
                }
                _ = ticks.tick() => self.tick(protocol, &mut drained, out)?,
                event = protocol.next(self, requests, state) => match protocol.handle(self, event?, out).await? {
                    Next::Continue => {}
                    Next::Drain => drain(&mut drained, out),
                    Next::End => return Ok(()),
                },
            }
        }
    }

    /// Checks what changes with time alone.
    fn tick<P: Protocol>(
        &self,
        protocol: &mut P,
        drained: &mut Option<Instant>,
        out: &mut Outbox<P::Frame>,
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
            // The session keeps its leases, and resumes them on a server that is not draining.
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

    /// The permit of a fresh token, which replaces that of the old one, and the frame that confirms it.
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

/// Sends `Drain` to the client, once.
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

//! HTTP/2 on one connection, from the first call to whatever ends it.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use posthouse_text::causes;
use tokio::{net::TcpStream, time::sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Service, ServiceExt as _, util::Oneshot};

use super::{
    answer::{self, SendTracker},
    body::Received,
    connection_auth::ConnectionAuth,
    drain_signal::{DrainSignal, drain_in_time, jittered},
    frames::Flood,
    slots::TenantSlot,
    task::{CallTask, Tasks},
    transport::{Passed, Transport, close},
    trust::TrustWatch,
    unread::Unread,
    warnings::Teller,
};
use crate::{
    account::ConnectionAccounts,
    identity::{ConnIdentity, RefusedIdentity},
    limits::{
        CERTIFICATE_CHECK_INTERVAL, CLOSE_DEADLINE, CONNECTION_WINDOW_BYTES, DRAIN_CLOSE_DEADLINE,
        FIRST_RPC_DEADLINE, FIRST_RPC_GRACE, FRAMES_OF_WINDOW, H2_FRAME_HEAD_BYTES, KEEPALIVE_INTERVAL,
        KEEPALIVE_TIMEOUT, LEAST_H2_FRAME_BYTES, LEAST_STREAM_WINDOW_BYTES, LEAST_UNSENT_BYTES,
        MAX_HEADER_LIST_BYTES, MAX_STREAMS_PER_CONNECTION, REFUSED_CONNECTION_LIFETIME, STREAM_WINDOW_BYTES,
        WINDOWS_BYTES,
    },
};

/// The service that answers the calls: tonic's routes, with the layers in front of them.
///
/// Each request's extensions hold `Arc<ConnIdentity>`, or `Arc<RefusedIdentity>` if the certificate has no usable
/// identity (then the call must be refused), and [`DrainSignal`], [`ConnectionAuth`], the connection's [`TenantSlot`]
/// if there is a tenant, its accounts, and the call's task.
pub trait Calls:
    Service<Request<Received>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Calls for S where
    S: Service<Request<Received>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

pub(super) type Identity = Result<Arc<ConnIdentity>, Arc<RefusedIdentity>>;

/// The caller of a connection, and its end.
pub(super) struct ConnectionInfo {
    pub(super) identity: Identity,
    pub(super) trust_watch: TrustWatch,
    pub(super) auth: ConnectionAuth,
    pub(super) warnings: Teller,
    pub(super) max_age: Duration,
    /// Connections that share the windows, this one included.
    pub(super) open: usize,
    pub(super) accounts: ConnectionAccounts,
    /// Present if there is a tenant.
    pub(super) tenant_slot: Option<TenantSlot>,
}

/// How much a peer may send before it is read, and how much may wait until it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Windows {
    stream: u32,
    connection: u32,
    /// The largest frame: all of one is held until it is whole, whatever it is and whatever the windows say.
    frame: u32,
}

impl Windows {
    /// The windows of one of `open` connections.
    fn of_one_in(open: usize) -> Self {
        let share = u32::try_from(WINDOWS_BYTES / open.max(1) as u64).unwrap_or(u32::MAX);
        let connection = share.clamp(2 * LEAST_STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES);
        // With its head, as many full records of TLS as fit.
        let frame = (connection / FRAMES_OF_WINDOW - H2_FRAME_HEAD_BYTES).max(LEAST_H2_FRAME_BYTES);
        Self { stream: (connection / 2).min(STREAM_WINDOW_BYTES), connection, frame }
    }

    /// Encrypted records that may wait for the socket, which accepts all of them with one system call if it has space:
    /// as much as one frame that may be received, so that they, too, shrink as connections grow.
    fn unsent_bytes(&self) -> usize {
        usize::try_from(self.frame + H2_FRAME_HEAD_BYTES).unwrap_or(usize::MAX).max(LEAST_UNSENT_BYTES)
    }
}

/// How the calls of a connection have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All that was accepted has been answered, or the peer has broken the protocol or the connection.
    Over,
    /// The peer answers no pings.
    Deaf,
    /// Calls were cut off.
    Cut,
}

/// Serves calls to the connection's end: the peer's, the certificate's, its age's, or the server's. Returns what the
/// peer flooded it with, if that was its end.
pub(super) async fn serve<S: Calls>(
    mut stream: TlsStream<TcpStream>,
    calls: S,
    info: ConnectionInfo,
    drain: &CancellationToken,
) -> Option<Flood> {
    let drain_signal = DrainSignal(drain.child_token());
    let windows = Windows::of_one_in(info.open);
    stream.get_mut().1.set_buffer_limit(Some(windows.unsent_bytes()));
    let unread = Unread::of_window(windows.connection);
    let (transport, passed, mut returned) = Transport::lend(stream, unread.clone());
    // Boxed, so that the later use of the stream needs no space beside it.
    let serving = serve_calls(transport, passed.clone(), calls, info, drain_signal.clone(), unread);
    let ended = Box::pin(serving).await;
    if let Some(flood) = passed.flood() {
        // Whatever else the peer sends is not waited for.
        return Some(flood);
    }
    // If HTTP/2 did not return the stream, it is closed.
    let Ok(stream) = returned.try_recv() else { return None };
    let patience = if ended == Ended::Over && drain_signal.0.is_cancelled() {
        DRAIN_CLOSE_DEADLINE
    } else {
        CLOSE_DEADLINE
    };
    if ended != Ended::Deaf {
        tokio::select! {
            () = close(stream, patience) => {}
            () = async {
                drain.cancelled().await;
                sleep(CLOSE_DEADLINE).await;
            } => {}
        }
    }
    None
}

/// Serves calls until there are no more, or they are cut off.
async fn serve_calls<S: Calls>(
    transport: Transport,
    passed: Passed,
    calls: S,
    info: ConnectionInfo,
    drain_signal: DrainSignal,
    unread: Unread,
) -> Ended {
    let ConnectionInfo { identity, trust_watch, auth, warnings, max_age, open, accounts, tenant_slot } = info;
    let mut end = pin!(end(identity.clone(), &auth, trust_watch, &drain_signal, &warnings));
    let failing = || warnings.auth_failures();
    let mut left = pin!(drain_in_time(jittered(max_age), &auth, &drain_signal, passed, failing));
    let tasks = Tasks::default();
    let builder = builder(Windows::of_one_in(open), tasks.clone());
    let (leave, auth) = (drain_signal.clone(), auth.clone());
    let service =
        Handing { calls, identity, drain_signal: leave, auth, unread, accounts, tenant_slot, tasks };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(transport), service));
    let mut drain_sent = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                let Err(error) = result else { return Ended::Over };
                tracing::debug!(error = %causes(&error), "connection broken");
                return if error.is_timeout() { Ended::Deaf } else { Ended::Over };
            }
            () = &mut end => return Ended::Cut,
            () = &mut left => return Ended::Cut,
            () = drain_signal.0.cancelled(), if !drain_sent => {
                // GOAWAY: no new calls; the loop goes on until those under way have ended.
                connection.as_mut().graceful_shutdown();
                drain_sent = true;
            }
        }
    }
}

fn builder(windows: Windows, tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_frame_size(windows.frame)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .auto_date_header(false);
    builder
}

/// Returns when the connection must end although both sides would go on.
async fn end(
    identity: Identity,
    auth: &ConnectionAuth,
    trust_watch: TrustWatch,
    drain_signal: &DrainSignal,
    warnings: &Teller,
) {
    let Ok(identity) = identity else {
        return sleep(REFUSED_CONNECTION_LIFETIME).await;
    };
    let silence = async {
        sleep(FIRST_RPC_DEADLINE).await;
        if auth.is_authenticated() {
            std::future::pending::<()>().await;
        }
        if auth.was_called() {
            tracing::debug!(
                "no call with a good token in time; the client is asked to open another connection"
            );
            drain_signal.0.cancel();
            sleep(FIRST_RPC_GRACE).await;
        }
    };
    tokio::select! {
        () = silence => {}
        () = certificate_end(identity.not_after) => {}
        () = trust_watch.lost(&identity.tenant) => {
            warnings.authority_removed(&identity);
        }
    }
}

/// Returns once the wall clock has passed `not_after`. The clock may be set, so it is read repeatedly.
async fn certificate_end(not_after: SystemTime) {
    while let Ok(left) = not_after.duration_since(SystemTime::now()) {
        sleep(left.min(CERTIFICATE_CHECK_INTERVAL)).await;
    }
}

/// Hands each call over with what is known of its connection.
struct Handing<S> {
    calls: S,
    identity: Identity,
    drain_signal: DrainSignal,
    auth: ConnectionAuth,
    unread: Unread,
    accounts: ConnectionAccounts,
    tenant_slot: Option<TenantSlot>,
    tasks: Tasks,
}

impl<S: Calls> hyper::service::Service<Request<Incoming>> for Handing<S> {
    type Response = Response<answer::Answer>;
    type Error = Infallible;
    type Future = Answering<Oneshot<S, Request<Received>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.auth.called();
        let mut request = request.map(|body| Received::new(body, &self.unread));
        let extensions = request.extensions_mut();
        match &self.identity {
            Ok(identity) => extensions.insert(Arc::clone(identity)).map(drop),
            Err(refused) => extensions.insert(Arc::clone(refused)).map(drop),
        };
        let (task, accounts) = (self.tasks.next(), self.accounts.clone());
        extensions.insert(self.drain_signal.clone());
        extensions.insert(self.auth.clone());
        extensions.insert(accounts.clone());
        extensions.insert(task.clone());
        if let Some(tenant_slot) = &self.tenant_slot {
            extensions.insert(tenant_slot.clone());
        }
        Answering { call: self.calls.clone().oneshot(request), task, accounts }
    }
}

pin_project! {
    /// A call that is not answered yet.
    struct Answering<F> {
        #[pin]
        call: F,
        task: CallTask,
        accounts: ConnectionAccounts,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answering<F> {
    type Output = Result<Response<answer::Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(context))?;
        Poll::Ready(Ok(SendTracker::watch(response, this.task.clone(), this.accounts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_as_connections_grow() {
        let windows = |open| Windows::of_one_in(open);
        assert_eq!(windows(1), Windows { stream: 2 << 20, connection: 8 << 20, frame: (256 << 10) - 9 });
        assert_eq!(windows(16), windows(1));
        assert_eq!(windows(64), Windows { stream: 1 << 20, connection: 2 << 20, frame: (64 << 10) - 9 });
        assert_eq!(windows(512), Windows { stream: 128 << 10, connection: 256 << 10, frame: 16 << 10 });
        assert_eq!(windows(100_000), windows(512));
        assert_eq!([1, 64, 512].map(|open| windows(open).unsent_bytes()), [256 << 10, 64 << 10, 64 << 10]);
    }
}

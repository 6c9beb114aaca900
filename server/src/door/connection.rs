//! One connection: handshake, identity, HTTP/2, end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Service, ServiceExt as _, util::Oneshot};

use super::{
    Authorities, set_nodelay,
    slots::{Slot, Slots, TenantSlot},
    tls::{ALPN_H2, failure},
};
use crate::{
    identity::{CertificateError, ConnIdentity, TrustDomain},
    limits::{
        CERTIFICATE_CHECK_INTERVAL, CONNECTION_WINDOW_BYTES, FIRST_RPC_DEADLINE, HANDSHAKE_DEADLINE,
        HANG_UP_BYTES, HANG_UP_DEADLINE, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_CONNECTIONS,
        MAX_CONNECTIONS_PER_TENANT, MAX_HANDSHAKES, MAX_HEADER_LIST_BYTES, MAX_STREAMS_PER_CONNECTION,
        REFUSED_CONNECTION_LIFETIME, STREAM_WINDOW_BYTES,
    },
    observe::Observer,
};

/// What answers the calls: tonic's routes, with the layers in front of them.
///
/// It finds `Arc<ConnIdentity>` in each request's extensions, or [`CertificateError`] when the certificate carries no
/// usable identity; then it must refuse the call.
pub trait Calls:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Calls for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// What all connections share.
pub(super) struct Entrance {
    tls: TlsAcceptor,
    authorities: Arc<Authorities>,
    trust_domain: TrustDomain,
    handshakes: Arc<Semaphore>,
    slots: Arc<Slots>,
    observer: Arc<Observer>,
}

/// A connection that has been accepted.
pub(super) struct Visit {
    entrance: Arc<Entrance>,
    stream: TcpStream,
    peer: SocketAddr,
    handshake: Option<OwnedSemaphorePermit>,
    slot: Slot,
    _open: Open,
}

/// Counts a connection as open while it lives.
struct Open(Arc<Observer>);

impl Open {
    fn count(observer: &Arc<Observer>) -> Self {
        observer.metrics.door.open.inc();
        Self(Arc::clone(observer))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.door.open.dec();
    }
}

type Identity = Result<Arc<ConnIdentity>, CertificateError>;

impl Entrance {
    pub(super) fn new(
        tls: ServerConfig,
        authorities: Arc<Authorities>,
        trust_domain: TrustDomain,
        observer: Arc<Observer>,
    ) -> Self {
        Self {
            tls: TlsAcceptor::from(Arc::new(tls)),
            authorities,
            trust_domain,
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            slots: Slots::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_TENANT),
            observer,
        }
    }

    /// Leave for one handshake. None only if the semaphore were closed, which it never is.
    pub(super) async fn handshake(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes).acquire_owned().await.ok()
    }

    pub(super) fn slot(&self) -> Option<Slot> {
        self.slots.take()
    }

    pub(super) fn visit(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        handshake: Option<OwnedSemaphorePermit>,
        slot: Slot,
    ) -> Visit {
        let _open = Open::count(&self.observer);
        Visit { entrance: Arc::clone(self), stream, peer, handshake, slot, _open }
    }

    /// Counts a connection that is closed before its first call.
    pub(super) fn refused(&self, reason: &'static str) {
        self.observer.metrics.door.refused.with_label_values(&[reason]).inc();
    }

    fn shaken(&self, result: &'static str) {
        self.observer.metrics.door.handshakes.with_label_values(&[result]).inc();
    }

    fn identify(&self, stream: &TlsStream<TcpStream>, peer: SocketAddr) -> Identity {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(CertificateError::Unreadable)?;
        let tenants = self.authorities.tenants_of(chain);
        ConnIdentity::from_leaf(leaf, &tenants, &self.trust_domain, peer).map(Arc::new)
    }
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entrance").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Visit {
    /// Serves the connection to its end: the peer's, the certificate's, or the server's.
    pub(super) async fn serve<S: Calls>(self, calls: S, drain: CancellationToken, close: CancellationToken) {
        let peer = self.peer;
        set_nodelay(&self.stream);
        let handshake = timeout(HANDSHAKE_DEADLINE, self.entrance.tls.accept(self.stream).into_fallible());
        let result = tokio::select! {
            result = handshake => result,
            () = drain.cancelled() => return,
        };
        drop(self.handshake);
        let stream = match result {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, stream))) => {
                tracing::debug!(%peer, %error, "handshake failed");
                self.entrance.shaken(failure(&error));
                return hang_up(stream).await;
            }
            Err(_) => {
                self.entrance.shaken("timeout");
                return tracing::debug!(%peer, "handshake took too long");
            }
        };
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
            self.entrance.refused("no_h2");
            return tracing::debug!(%peer, "connection closed: the client did not ask for h2");
        }
        let identity = self.entrance.identify(&stream, peer);
        self.entrance.shaken(if identity.is_ok() { "ok" } else { "no_identity" });
        let Some(_place) = place(&self.slot, &identity) else {
            self.entrance.refused("tenant_full");
            return tracing::warn!(%peer, "connection closed: its tenant has as many open as may be");
        };
        match &identity {
            Ok(known) => tracing::debug!(%peer, spiffe_id = %known.spiffe_id, "connected"),
            Err(error) => tracing::warn!(%peer, %error, "certificate without a usable identity"),
        }
        tokio::select! {
            () = serve_h2(stream, calls, identity, drain) => {}
            () = close.cancelled() => {}
        }
        tracing::debug!(%peer, "connection ended");
    }
}

/// Closes so that the client can read the alert. To close with bytes of the client's unread would reset the connection,
/// and the alert could be lost on the way.
async fn hang_up(mut stream: TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(HANG_UP_BYTES), &mut tokio::io::sink()).await
    };
    // However it ends, the stream is closed.
    let _ = timeout(HANG_UP_DEADLINE, reading).await;
}

/// A place among the tenant's connections, where there is a tenant.
fn place(slot: &Slot, identity: &Identity) -> Option<Option<TenantSlot>> {
    match identity {
        Ok(known) => slot.of_tenant(&known.tenant).map(Some),
        Err(_) => Some(None),
    }
}

async fn serve_h2<S: Calls>(
    stream: TlsStream<TcpStream>,
    calls: S,
    identity: Identity,
    drain: CancellationToken,
) {
    let called = Arc::new(AtomicBool::new(false));
    let mut end = pin!(end(identity.clone(), Arc::clone(&called)));
    let service = WithIdentity { calls, identity, called };
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let mut draining = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection broken");
                }
                return;
            }
            () = &mut end => return,
            () = drain.cancelled(), if !draining => {
                // GOAWAY: no new streams; the loop goes on until those under way have ended.
                connection.as_mut().graceful_shutdown();
                draining = true;
            }
        }
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .auto_date_header(false);
    builder
}

/// Returns when the connection must end although both sides would go on.
async fn end(identity: Identity, called: Arc<AtomicBool>) {
    let Ok(identity) = identity else {
        return sleep(REFUSED_CONNECTION_LIFETIME).await;
    };
    let silence = async {
        sleep(FIRST_RPC_DEADLINE).await;
        if called.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = silence => {}
        () = certificate_end(identity.not_after) => {}
    }
}

/// Returns once the wall clock has passed `not_after`. The clock may be set, so it is looked at again and again.
async fn certificate_end(not_after: SystemTime) {
    while let Ok(left) = not_after.duration_since(SystemTime::now()) {
        sleep(left.min(CERTIFICATE_CHECK_INTERVAL)).await;
    }
}

/// Hands each call over with the connection's identity in it.
struct WithIdentity<S> {
    calls: S,
    identity: Identity,
    /// Whether there has been a call.
    called: Arc<AtomicBool>,
}

impl<S: Calls> hyper::service::Service<Request<Incoming>> for WithIdentity<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Oneshot<S, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.called.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        match &self.identity {
            Ok(identity) => request.extensions_mut().insert(Arc::clone(identity)).map(drop),
            Err(error) => request.extensions_mut().insert(error.clone()).map(drop),
        };
        self.calls.clone().oneshot(request)
    }
}

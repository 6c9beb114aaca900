//! One connection: its slot, its handshake, its identity, its calls, its end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::server::Acceptor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    callers::Callers,
    connection_auth::ConnectionAuth,
    failed_tokens::FailedTokens,
    h2::{self, Calls, ConnectionInfo, Identity},
    handshake_slots::HandshakeSlots,
    set_nodelay,
    slots::{ConnectionSlot, ConnectionSlots, NoSlot},
    tls::{ALPN_H2, failure},
    trust::{Snapshot, Trust, TrustWatch},
    warnings::Warnings,
};
use crate::{
    account::Accounts,
    limits::{
        HANDSHAKE_DEADLINE, HANG_UP_BYTES, HANG_UP_DEADLINE, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_SOURCE,
        TENANT_FULL_GRACE,
    },
    observe::Observer,
    pace::Pace,
    source_slots::Stage,
};

/// What all connections share.
pub(super) struct ConnectionContext {
    trust: Trust,
    callers: Callers,
    handshake_slots: Arc<HandshakeSlots>,
    /// Of the work on handshakes.
    pace: Pace,
    failed_tokens: Arc<FailedTokens>,
    warnings: Arc<Warnings>,
    slots: Arc<ConnectionSlots>,
    max_age: Duration,
    observer: Arc<Observer>,
    accounts: Arc<Accounts>,
}

/// A connection that has been accepted.
pub(super) struct Connection {
    context: Arc<ConnectionContext>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
    open: OpenGauge,
}

/// Counts a connection as open while it lives, and as a stranger's while it is one.
struct OpenGauge {
    observer: Arc<Observer>,
    stranger: bool,
}

impl OpenGauge {
    fn count(observer: &Arc<Observer>) -> Self {
        observer.metrics.door.open.inc();
        observer.metrics.door.strangers.inc();
        Self { observer: Arc::clone(observer), stranger: true }
    }

    fn is_callers(&mut self) {
        if std::mem::take(&mut self.stranger) {
            self.observer.metrics.door.strangers.dec();
        }
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.is_callers();
        self.observer.metrics.door.open.dec();
    }
}

impl ConnectionContext {
    pub(super) fn new(
        trust: Trust,
        callers: Callers,
        slots: Arc<ConnectionSlots>,
        max_age: Duration,
        observer: Arc<Observer>,
    ) -> Self {
        let handshake_slots = HandshakeSlots::new(MAX_HANDSHAKES, MAX_HANDSHAKES_PER_SOURCE);
        let warnings = Warnings::new(observer.metrics.door.left_out.clone());
        let accounts = Arc::new(Accounts::new(observer.metrics.held.counters()));
        Self {
            trust,
            callers,
            handshake_slots,
            pace: Pace::default(),
            failed_tokens: Arc::default(),
            warnings,
            slots,
            max_age,
            observer,
            accounts,
        }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    pub(super) fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// A slot for a connection from this address, released when it is dropped.
    pub(super) fn acquire_slot(&self, peer: IpAddr) -> Result<ConnectionSlot, NoSlot> {
        self.slots.acquire(peer)
    }

    pub(super) fn connection(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        slot: ConnectionSlot,
    ) -> Connection {
        let open = OpenGauge::count(&self.observer);
        Connection { context: Arc::clone(self), stream, peer, slot, open }
    }

    /// Counts a connection that is closed before its first call.
    pub(super) fn refused(&self, reason: &'static str) {
        self.observer.metrics.door.refused.with_label_values(&[reason]).inc();
    }

    fn auth(&self, identity: &Identity) -> ConnectionAuth {
        let certificate = match identity {
            Ok(known) => known.certificate_sha256,
            Err(refused) => refused.certificate_sha256,
        };
        ConnectionAuth::new(
            certificate,
            Arc::clone(&self.failed_tokens),
            self.observer.metrics.door.throttled.clone(),
        )
    }

    fn shaken(&self, result: &'static str) {
        self.observer.metrics.door.handshakes.with_label_values(&[result]).inc();
    }
}

impl std::fmt::Debug for ConnectionContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionContext").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Connection {
    /// Serves the connection until the peer, its certificate, or the server ends it, or until it is evicted as a
    /// stranger's.
    pub(super) async fn serve<S: Calls>(self, calls: S, drain: CancellationToken, close: CancellationToken) {
        let (context, peer) = (Arc::clone(&self.context), self.peer);
        let evicted = self.slot.evicted().clone();
        tokio::select! {
            () = self.serve_peer(calls, drain) => {}
            () = evicted.cancelled() => {
                tracing::debug!(%peer, "connection closed: it gives way to another that is not known yet");
                context.refused("gave_way");
            }
            () = close.cancelled() => {}
        }
        tracing::debug!(%peer, "connection ended");
    }

    async fn serve_peer<S: Calls>(self, calls: S, drain: CancellationToken) {
        let Self { context, stream, peer, mut slot, mut open } = self;
        set_nodelay(&stream);
        let mut trust = context.trust.subscribe();
        let handshake = tokio::select! {
            handshake = shake_hands(&context, stream, peer, &slot, &mut trust) => handshake,
            () = drain.cancelled() => return,
        };
        let Some((stream, snapshot)) = handshake else { return };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let identity = context.callers.identify(shown, &snapshot.authorities, peer);
        let warnings = context.warnings.about(peer, &identity);
        context.shaken(if identity.is_ok() { "ok" } else { "no_identity" });
        match &identity {
            Ok(known) => {
                slot.reached(Stage::Named);
                tracing::debug!(%peer, spiffe_id = %known.spiffe_id, "connected");
            }
            Err(refused) => warnings.no_identity(refused),
        }
        let chain = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let trust_watch = TrustWatch::new(trust, Arc::clone(&snapshot.authorities), chain);
        drop(snapshot);
        let auth = context.auth(&identity);
        let tenant = identity.as_ref().ok().map(|known| &known.tenant);
        let accounts = context.accounts.open(tenant);
        let tenant_slot = tenant.map(|tenant| slot.tenant_slot(tenant));
        let info = ConnectionInfo {
            identity,
            trust_watch,
            auth: auth.clone(),
            warnings: warnings.clone(),
            max_age: context.max_age,
            open: slot.handshake_done(),
            accounts,
            tenant_slot: tenant_slot.clone(),
        };
        let leave = drain.child_token();
        let known = async {
            auth.authenticated().await;
            if tenant_slot.as_ref().is_some_and(|tenant_slot| tenant_slot.acquire().is_err()) {
                context.refused("tenant_full");
                warnings.tenant_full();
                // The call has its answer. It and other open calls may end; then the connection does.
                leave.cancel();
                return sleep(TENANT_FULL_GRACE).await;
            }
            slot.is_callers();
            open.is_callers();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            flood = h2::serve(stream, calls, info, &leave) => {
                if let Some(flood) = flood {
                    context.observer.metrics.door.flooded.with_label_values(&[flood.0]).inc();
                    warnings.flooded(flood);
                }
            }
            () = known => {}
        }
    }
}

/// The handshake, once it is this connection's slot, under one state of what is trusted.
async fn shake_hands(
    context: &ConnectionContext,
    stream: TcpStream,
    peer: SocketAddr,
    slot: &ConnectionSlot,
    trust: &mut watch::Receiver<Arc<Snapshot>>,
) -> Option<(TlsStream<TcpStream>, Arc<Snapshot>)> {
    let handshake = async {
        // A silent connection occupies no handshake slot. Readable is not enough: the system may report it of a stream
        // on which nothing has arrived.
        stream.peek(&mut [0; 1]).await.ok();
        slot.reached(Stage::Begun);
        // Neither does who has not said all of its first message: until then there is nothing to compute.
        let mut greeting = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let greeted = (&mut greeting).await.map_err(|error| (error, greeting.take_io()))?;
        let waiting = context.handshake_slots.wait(peer.ip());
        let _slot = waiting.slot(slot.evicted()).await;
        let snapshot = Arc::clone(&trust.borrow_and_update());
        let shaking = greeted.into_stream(Arc::clone(snapshot.tls.config())).into_fallible();
        let stream = context.pace.paced(shaking).await;
        stream.map(|stream| (stream, snapshot)).map_err(|(error, stream)| (error, Some(stream)))
    };
    // Boxed, so that it does not enlarge the connection's task for all its life.
    let (stream, snapshot) = match timeout(HANDSHAKE_DEADLINE, Box::pin(handshake)).await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err((error, stream))) => {
            tracing::debug!(%peer, %error, "handshake failed");
            context.shaken(failure(&error));
            if let Some(stream) = stream {
                hang_up(stream).await;
            }
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "handshake took too long");
            context.shaken("timeout");
            return None;
        }
    };
    if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        tracing::debug!(%peer, "connection closed: the client did not ask for h2");
        context.refused("no_h2");
        return None;
    }
    Some((stream, snapshot))
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

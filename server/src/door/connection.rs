//! One connection: its turn, its handshake, its identity, its calls, its end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    callers::Callers,
    h2::{self, Calls, Identity, Visitor},
    set_nodelay,
    slots::{Slot, Slots, TenantSlot},
    sources::{SourceLimits, Sources, Unfinished},
    tls::{ALPN_H2, failure},
    trust::{Snapshot, Trust, Vouching},
};
use crate::{
    limits::{
        HANDSHAKE_DEADLINE, HANG_UP_BYTES, HANG_UP_DEADLINE, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_SOURCE,
        MAX_UNFINISHED_PER_SOURCE,
    },
    observe::Observer,
};

/// What all connections share.
pub(super) struct Entrance {
    trust: Trust,
    callers: Callers,
    sources: Arc<Sources>,
    slots: Arc<Slots>,
    max_age: Duration,
    observer: Arc<Observer>,
}

/// A connection that has been accepted.
pub(super) struct Visit {
    entrance: Arc<Entrance>,
    stream: TcpStream,
    peer: SocketAddr,
    unfinished: Unfinished,
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

/// Why a connection has no place. It is closed as soon as it is accepted, which is clearer than a silence.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoPlace {
    /// As many connections are open as may be.
    Full,
    /// As many of its source have not finished their handshake as may be.
    Source,
}

impl NoPlace {
    /// A metric's label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Source => "source_full",
        }
    }
}

impl Entrance {
    pub(super) fn new(
        trust: Trust,
        callers: Callers,
        slots: Arc<Slots>,
        max_age: Duration,
        observer: Arc<Observer>,
    ) -> Self {
        let limits = SourceLimits {
            handshakes: MAX_HANDSHAKES,
            handshakes_per_source: MAX_HANDSHAKES_PER_SOURCE,
            unfinished_per_source: MAX_UNFINISHED_PER_SOURCE,
        };
        Self { trust, callers, sources: Sources::new(limits), slots, max_age, observer }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Places for a connection from this address, given back when dropped.
    pub(super) fn places(&self, peer: IpAddr) -> Result<(Unfinished, Slot), NoPlace> {
        let unfinished = self.sources.enter(peer).ok_or(NoPlace::Source)?;
        Ok((unfinished, self.slots.take().ok_or(NoPlace::Full)?))
    }

    pub(super) fn visit(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        (unfinished, slot): (Unfinished, Slot),
    ) -> Visit {
        let _open = Open::count(&self.observer);
        Visit { entrance: Arc::clone(self), stream, peer, unfinished, slot, _open }
    }

    /// Counts a connection that is closed before its first call.
    pub(super) fn refused(&self, reason: &'static str) {
        self.observer.metrics.door.refused.with_label_values(&[reason]).inc();
    }

    fn shaken(&self, result: &'static str) {
        self.observer.metrics.door.handshakes.with_label_values(&[result]).inc();
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
        let Self { entrance, stream, peer, unfinished, slot, _open } = self;
        set_nodelay(&stream);
        let mut trust = entrance.trust.subscribe();
        let handshake = tokio::select! {
            handshake = shake_hands(&entrance, stream, peer, &unfinished, &mut trust) => handshake,
            () = drain.cancelled() => return,
        };
        drop(unfinished);
        let Some((stream, snapshot)) = handshake else { return };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let identity = entrance.callers.identify(shown, &snapshot.authorities, peer);
        entrance.shaken(if identity.is_ok() { "ok" } else { "no_identity" });
        let Some(_place) = place(&slot, &identity) else {
            entrance.refused("tenant_full");
            return tracing::warn!(%peer, "connection closed: its tenant has as many open as may be");
        };
        match &identity {
            Ok(known) => tracing::debug!(%peer, spiffe_id = %known.spiffe_id, "connected"),
            Err(refused) => {
                tracing::warn!(%peer, error = %refused.error, "certificate without a usable identity")
            }
        }
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let vouching = Vouching::new(trust, Arc::clone(&snapshot.authorities), chain);
        drop(snapshot);
        let (max_age, open) = (entrance.max_age, slot.taken());
        let visitor = Visitor { identity, vouching, max_age, open };
        tokio::select! {
            flood = h2::serve(stream, calls, visitor, &drain) => {
                if let Some(flood) = flood {
                    entrance.observer.metrics.door.flooded.with_label_values(&[flood.0]).inc();
                    tracing::warn!(%peer, %flood, "connection closed");
                }
            }
            () = close.cancelled() => {}
        }
        tracing::debug!(%peer, "connection ended");
    }
}

/// The handshake, once it is this connection's turn, under one state of what is trusted.
async fn shake_hands(
    entrance: &Entrance,
    stream: TcpStream,
    peer: SocketAddr,
    unfinished: &Unfinished,
    trust: &mut watch::Receiver<Arc<Snapshot>>,
) -> Option<(TlsStream<TcpStream>, Arc<Snapshot>)> {
    let handshake = async {
        // Who says nothing takes nobody's turn.
        stream.readable().await.ok();
        let _leave = unfinished.turn().await;
        let snapshot = Arc::clone(&trust.borrow_and_update());
        let stream = snapshot.tls.accept(stream).into_fallible().await;
        stream.map(|stream| (stream, snapshot))
    };
    let (stream, snapshot) = match timeout(HANDSHAKE_DEADLINE, handshake).await {
        Ok(Ok(shaken)) => shaken,
        Ok(Err((error, stream))) => {
            tracing::debug!(%peer, %error, "handshake failed");
            entrance.shaken(failure(&error));
            hang_up(stream).await;
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "handshake took too long");
            entrance.shaken("timeout");
            return None;
        }
    };
    if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        tracing::debug!(%peer, "connection closed: the client did not ask for h2");
        entrance.refused("no_h2");
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

/// A place among the tenant's connections, where there is a tenant.
fn place(slot: &Slot, identity: &Identity) -> Option<Option<TenantSlot>> {
    match identity {
        Ok(known) => slot.of_tenant(&known.tenant).map(Some),
        Err(_) => Some(None),
    }
}

//! The door: TCP, TLS 1.3 with client certificates, HTTP/2.
//!
//! An accept loop of its own, because every limit before the first call is decided here: how many handshakes at once,
//! how long each may take, how many connections, from which tenants, and for how long. This is the only module that
//! knows rustls. Sessions are never resumed, so that each connection's certificate is verified afresh.

mod authorities;
mod connection;
mod slots;
mod tls;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use authorities::Authorities;
pub use connection::Calls;
pub use tls::{TlsError, check_certificate, check_roots};

use crate::{
    config::Config,
    limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, FULL_WARNING_INTERVAL, LISTEN_BACKLOG},
    observe::Observer,
};
use connection::Entrance;

/// A bound listener that has not begun to accept.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    local_addr: SocketAddr,
    entrance: Arc<Entrance>,
}

/// Why the door could not be opened.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates or the key do not make a TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Door {
    /// Listens on the configured address. Must be called within the runtime that will serve.
    pub fn bind(config: &Config, observer: Arc<Observer>) -> Result<Self, DoorError> {
        let authorities = Arc::new(Authorities::new(&config.authorities)?);
        let tls = tls::server_config(&config.tls, Arc::clone(&authorities))?;
        let address = config.server.listen;
        let failed = |source| DoorError::Listen { address, source };
        let listener = listen(address).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let entrance =
            Arc::new(Entrance::new(tls, authorities, config.identity.trust_domain.clone(), observer));
        Ok(Self { listener, local_addr, entrance })
    }

    /// Where it listens; with port 0 configured, the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts connections and serves calls on them until `drain` is cancelled. Then it accepts no more, tells every
    /// connection to finish what is under way, and closes what is left after `deadline`.
    pub async fn serve<S: Calls>(self, calls: S, drain: CancellationToken, deadline: Duration) {
        let tasks = TaskTracker::new();
        let close = CancellationToken::new();
        tokio::select! {
            () = self.accept_all(&calls, &tasks, &drain, &close) => {}
            () = drain.cancelled() => {}
        }
        drop(self.listener);
        tasks.close();
        tracing::info!(connections = tasks.len(), "door closed to new connections");
        if tokio::time::timeout(deadline, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "closing connections that did not end by the deadline");
            close.cancel();
            tasks.wait().await;
        }
    }

    async fn accept_all<S: Calls>(
        &self,
        calls: &S,
        tasks: &TaskTracker,
        drain: &CancellationToken,
        close: &CancellationToken,
    ) {
        let mut pause = ACCEPT_PAUSE_MIN;
        let mut told: Option<Instant> = None;
        loop {
            // While as many handshakes are under way as may be, callers wait in the kernel.
            let handshake = self.entrance.handshake().await;
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE_MIN;
                    // Dropping the stream closes it at once, which is clearer than a silence.
                    if let Some(slot) = self.entrance.slot() {
                        let visit = self.entrance.visit(stream, peer, handshake, slot);
                        tasks.spawn(visit.serve(calls.clone(), drain.clone(), close.clone()));
                    } else {
                        self.entrance.refused("full");
                        if told.is_none_or(|told| told.elapsed() >= FULL_WARNING_INTERVAL) {
                            told = Some(Instant::now());
                            tracing::warn!(%peer, "connections are closed at once: as many are open as may be");
                        }
                    }
                }
                Err(error) if is_about_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections; pausing");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}

/// Errors of a connection that died before it was accepted: the next one may be tried at once.
fn is_about_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Small frames leave at once: answers are waited for.
fn set_nodelay(stream: &TcpStream) {
    // It fails only on a socket that is dead already, which the handshake will find.
    let _ = stream.set_nodelay(true);
}

#[cfg(test)]
mod tests;

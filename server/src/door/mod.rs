//! The door: TCP, TLS 1.3 with client certificates, HTTP/2.
//!
//! It has an accept loop of its own, because every limit before the first call is applied here: how many handshakes at
//! once, and from one address, how long each may take, how many connections, of which tenants, and for how long. Only
//! this module uses rustls for connections. Sessions are never resumed, so that each connection's certificate is
//! verified; certificate and authorities are replaced while the server runs ([`Trust`]).

mod answer;
mod authorities;
mod body;
mod callers;
mod connection;
mod files;
mod frames;
mod h2;
mod drain_signal;
mod failed_tokens;
mod slots;
mod connection_auth;
mod task;
mod tls;
mod transport;
mod trust;
mod handshake_slots;
mod unread;
mod warnings;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use answer::ChargedAnswer;
pub use answer::{OnSent, SendTracker};
pub use authorities::Authorities;
pub use body::{BrokenOff, Received};
pub use connection_auth::ConnectionAuth;
pub use drain_signal::DrainSignal;
pub use h2::Calls;
pub use slots::{TenantFull, TenantSlot};
pub use task::CallTask;
pub use trust::Trust;

use crate::{
    account::Accounts,
    certificates::TlsError,
    config::Config,
    limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, FULL_WARNING_INTERVAL, LISTEN_BACKLOG, RESERVED_FILES},
    observe::Observer,
};
use callers::Callers;
use connection::ConnectionContext;
use slots::{ConnectionSlots, NoSlot};

/// A bound listener that has not begun to accept.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    local_addr: SocketAddr,
    context: Arc<ConnectionContext>,
}

/// Why the door could not be opened.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The certificates or the key do not make a TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Door {
    /// Listens on the configured address. Must be called within the runtime that will serve.
    pub fn bind(config: &Config, observer: Arc<Observer>) -> Result<Self, DoorError> {
        let trust = Trust::new(&config.tls, &config.authorities)?;
        let address = config.server.listen;
        let failed = |source| DoorError::Listen { address, source };
        let listener = listen(address).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (callers, age) = (Callers::new(config.identity.clone()), config.server.max_connection_age);
        let context = Arc::new(ConnectionContext::new(trust, callers, slots(config), age, observer));
        Ok(Self { listener, local_addr, context })
    }

    /// The address it listens on; with port 0 configured, the port is the one that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The accounts of its connections.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(self.context.accounts())
    }

    /// The way to replace certificate and authorities.
    pub fn trust(&self) -> Trust {
        self.context.trust().clone()
    }

    /// Accepts connections and serves calls on them until `drain` is cancelled. Then it accepts no more, asks every
    /// connection to finish its open calls, and closes those that are left after `deadline`.
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
        let mut last_logged: Option<Instant> = None;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE_MIN;
                    match self.context.acquire_slot(peer.ip()) {
                        Ok(slot) => {
                            let connection = self.context.connection(stream, peer, slot);
                            tasks.spawn(connection.serve(calls.clone(), drain.clone(), close.clone()));
                        }
                        // Dropping the stream closes it at once, which is clearer than a silence.
                        Err(why) => {
                            self.context.refused(why.label());
                            log_refusal(why, peer, &mut last_logged);
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

/// Says, now and then, that connections are closed at once.
fn log_refusal(why: NoSlot, peer: SocketAddr, last_logged: &mut Option<Instant>) {
    if last_logged.is_some_and(|last_logged| last_logged.elapsed() < FULL_WARNING_INTERVAL) {
        return;
    }
    *last_logged = Some(Instant::now());
    match why {
        NoSlot::Full => tracing::warn!(
            %peer,
            "connections are closed at once: as many are open as may be; raise server.max_connections, or find out \
             who keeps them open"
        ),
        NoSlot::Strangers => tracing::warn!(
            %peer,
            "connections are closed at once: as many as may be have not brought a good token yet, from many hosts"
        ),
        NoSlot::Source => tracing::warn!(
            %peer,
            "connections are closed at once: as many from this address or its network as may be have not brought a \
             good token yet"
        ),
    }
}

/// Places for as many connections as are configured, unless the system has fewer files for them.
fn slots(config: &Config) -> Arc<ConnectionSlots> {
    let wanted = config.server.max_connections;
    let files = files::limit().map_or(u64::MAX, |files| files.saturating_sub(RESERVED_FILES).max(16));
    let max = usize::try_from(files).map_or(wanted, |files| files.min(wanted));
    if max < wanted {
        tracing::warn!(
            max_connections = max,
            configured = wanted,
            "the system lets this process open too few files for the connections that are configured; raise the \
             hard limit (ulimit -Hn, LimitNOFILE)"
        );
    }
    let caps = config.tenants.iter().map(|tenant| (tenant.name.clone(), tenant.caps.max_connections));
    ConnectionSlots::new(max, caps.filter_map(|(name, cap)| Some((name, cap?))).collect())
}

/// Raises the limit on open files, on which the number of connections depends, as far as the process may.
pub fn raise_files_limit() {
    files::raise_limit();
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

//! The management listener: probes and metrics over plain HTTP/1.1, on a port of its own.
//!
//! It answers from the beginning of a start to the end of a stop. It accepts only GET and HEAD of four paths, a limited
//! number of connections, one request on each, for a limited time. A silent connection keeps nobody out, and neither
//! does one that asks for more than a probe: such connections are evicted, the oldest first of the host that has most.
//! Some slots are reserved for the host itself.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Observer, Phase};
use crate::{
    limits::{
        ACCEPT_PAUSE_MAX, MANAGEMENT_DEADLINE, MANAGEMENT_HEAD_DEADLINE, MAX_LOCAL_MANAGEMENT_CONNECTIONS,
        MAX_MANAGEMENT_CONNECTIONS, MAX_MANAGEMENT_HEADER_BYTES, MAX_MANAGEMENT_HEADERS, MAX_SCRAPES,
    },
    source_slots::{Limits, SourceSlot, SourceSlots, Stage},
};

/// The listener, until it is dropped.
#[derive(Debug)]
pub struct Management {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// Why the management listener was not opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on the management address {address}: {source}; choose another one under [management], or \
     listen = \"off\""
)]
pub struct ManagementError {
    address: SocketAddr,
    source: io::Error,
}

impl Management {
    /// Listens on `address` and answers.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn open(address: SocketAddr, observer: Arc<Observer>) -> Result<Self, ManagementError> {
        let failed = |source| ManagementError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "answering probes and metrics");
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "probes and metrics are answered over plain HTTP to everyone who reaches this address; let a network \
                 policy say who does"
            );
        }
        Ok(Self { address, accepting: tokio::spawn(accept(listener, observer)) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// ListenerSlots on the management port: those of the host itself apart from all others.
struct ListenerSlots {
    local: Arc<SourceSlots>,
    others: Arc<SourceSlots>,
}

impl ListenerSlots {
    fn new() -> Self {
        let all = MAX_LOCAL_MANAGEMENT_CONNECTIONS;
        let local = SourceSlots::new(Limits { all, network: all, site: all, host: all });
        let all = MAX_MANAGEMENT_CONNECTIONS;
        // A node and its pods often are one site: no host may have all slots of one.
        let others = SourceSlots::new(Limits { all, network: all / 2, site: all / 4, host: all / 8 });
        Self { local, others }
    }

    /// A slot, for which a connection that is not answering a probe may be evicted; the token is cancelled when this
    /// one is evicted.
    fn acquire(&self, peer: IpAddr) -> Option<(SourceSlot, CancellationToken)> {
        let source_slots = if peer.to_canonical().is_loopback() { &self.local } else { &self.others };
        let evicted = CancellationToken::new();
        let slot = source_slots.enter(peer, usize::MAX, Stage::Silent, evicted.clone()).ok()?;
        Some((slot, evicted))
    }
}

async fn accept(listener: TcpListener, observer: Arc<Observer>) {
    let (slots, scrapes) = (ListenerSlots::new(), Arc::new(Semaphore::new(MAX_SCRAPES)));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some((slot, evicted)) = slots.acquire(peer.ip()) else {
                    // Dropping the stream closes it.
                    observer.metrics.own.closed.with_label_values(&["full"]).inc();
                    continue;
                };
                let (observer, scrapes) = (Arc::clone(&observer), Arc::clone(&scrapes));
                tokio::spawn(async move {
                    let served = serve(stream, slot, &observer, scrapes);
                    // However it ends, the connection is closed.
                    let closed = tokio::select! {
                        served = timeout(MANAGEMENT_DEADLINE, served) => {
                            match served {
                                Ok(Ok(())) => None,
                                Ok(Err(error)) => error.is_timeout().then_some("late"),
                                Err(_) => Some("late"),
                            }
                        }
                        () = evicted.cancelled() => Some("gave_way"),
                    };
                    if let Some(why) = closed {
                        observer.metrics.own.closed.with_label_values(&[why]).inc();
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the management listener cannot accept; pausing");
                sleep(ACCEPT_PAUSE_MAX).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    slot: SourceSlot,
    observer: &Arc<Observer>,
    scrapes: Arc<Semaphore>,
) -> Result<(), hyper::Error> {
    let answer = service_fn(|request: Request<Incoming>| {
        slot.reached(stage(&request));
        let scrapes = Arc::clone(&scrapes);
        async move {
            // Probes wait for nothing.
            let _scrape = match request.uri().path() {
                "/metrics" => scrapes.acquire_owned().await.ok(),
                _ => None,
            };
            Ok::<_, Infallible>(answer(observer, &request).await)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MANAGEMENT_HEAD_DEADLINE)
        .max_buf_size(MAX_MANAGEMENT_HEADER_BYTES)
        .max_headers(MAX_MANAGEMENT_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

/// The stage of a connection with this request. A probe is answered at once and is never evicted. A request that may
/// take longer is evicted for hosts that have fewer connections: a scrape waits for others, and so for their clients.
fn stage<B>(request: &Request<B>) -> Stage {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/livez" | "/readyz" | "/startupz") => Stage::Answered,
        _ => Stage::Named,
    }
}

async fn answer(observer: &Arc<Observer>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = match request.uri().path() {
        known @ ("/livez" | "/readyz" | "/startupz" | "/metrics") => known,
        _ => "other",
    };
    observer.metrics.own.requests.with_label_values(&[path]).inc();
    if path != "other" && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        // A process that answers is alive.
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/readyz" => text(code(observer.readiness.is_ready()), observer.describe()),
        "/startupz" => {
            let started = observer.readiness.phase() != Phase::Starting;
            text(code(started), if started { "started\n" } else { "starting\n" })
        }
        "/metrics" => metrics(observer).await,
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /startupz and /metrics\n"),
    }
}

async fn metrics(observer: &Arc<Observer>) -> Response<Full<Bytes>> {
    let observer = Arc::clone(observer);
    let scraped = tokio::task::spawn_blocking(move || observer.scrape()).await;
    match scraped {
        Ok(Ok(metrics)) => {
            let mut response = text(StatusCode::OK, metrics);
            let format = HeaderValue::from_static(prometheus::TEXT_FORMAT);
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the metrics cannot be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; see the log\n")
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "reading the metrics failed; see the log\n"),
    }
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;

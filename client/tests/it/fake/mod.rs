//! A server in this process: real TLS and gRPC, with queues in memory.

mod consumer;
mod leases;
mod messages;
mod producers;
mod publisher;
mod queues;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use posthouse_client::{Client, Context};
use posthouse_proto::{
    google::rpc,
    v1::{
        consumer_server::ConsumerServer, messages_server::MessagesServer, publisher_server::PublisherServer,
        queues_server::QueuesServer,
    },
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    transport::server::{Connected, Server},
};
use tonic_types::{ErrorDetails, StatusExt as _};

pub use self::{leases::Leases, producers::Producers};
use crate::{pki::Pki, wire::Wire};

pub const QUEUE: &str = "d/q";

/// The server, the relay to it, and its records.
pub struct Fake {
    pub pki: Pki,
    pub wire: Wire,
    pub state: State,
}

/// The state of all connections.
#[derive(Clone)]
pub struct State {
    records: Arc<Mutex<Records>>,
    pub orders: broadcast::Sender<Order>,
}

#[derive(Default)]
pub struct Records {
    pub producers: Producers,
    pub leases: Leases,
    pub queues: Vec<posthouse_proto::v1::Queue>,
    /// The only token that is accepted; if empty, `good-token`.
    pub token: String,
    /// Delay lists of queues.
    pub slow: bool,
    /// The trace contexts of the calls.
    pub traceparents: Vec<String>,
    /// The tokens that refreshed streams.
    pub refreshed: Vec<String>,
    /// The request ids of redrives.
    pub request_ids: Vec<String>,
}

/// What a test orders every open stream to do.
#[derive(Clone, Debug)]
pub enum Order {
    Drain(String),
    End(Status),
}

impl Fake {
    pub async fn start() -> Self {
        let pki = Pki::new();
        let state = State { records: Arc::default(), orders: broadcast::channel(16).0 };
        let server = serve(&pki, state.clone()).await;
        let wire = Wire::to(server).await;
        Self { pki, wire, state }
    }

    pub fn context(&self) -> Context {
        self.pki.context(&self.wire.endpoint())
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.context()).await.unwrap()
    }

    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.state.records()
    }

    /// Sends an order to every open stream, and returns their number.
    pub fn order(&self, order: Order) -> usize {
        self.state.orders.send(order).unwrap_or(0)
    }
}

impl State {
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap()
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let trace = request.metadata().get("traceparent").and_then(|value| value.to_str().ok());
        self.records().traceparents.extend(trace.map(str::to_owned));
        self.accept(token)
    }

    fn accept(&self, token: &str) -> Result<(), Status> {
        let records = self.records();
        let good = if records.token.is_empty() { "good-token" } else { &records.token };
        if token == good { Ok(()) } else { Err(refusal(Code::Unauthenticated, "TOKEN_EXPIRED")) }
    }
}

pub fn refusal(code: Code, reason: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "posthouse.v1", HashMap::new());
    details.add_bad_request_violation("messages", "wrong");
    details.add_quota_failure_violation("tenants/t", "messages per batch");
    details.set_retry_info(Some(Duration::from_millis(1)));
    Status::with_error_details(code, format!("refused: {reason}"), details)
}

/// A refusal as the status in a frame.
pub fn refusal_in_frame(code: Code, reason: &str) -> rpc::Status {
    rpc::Status::decode(refusal(code, reason).details()).unwrap()
}

pub async fn serve(pki: &Pki, state: State) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(pki.server_tls()));
    let (streams, incoming) = mpsc::channel::<io::Result<Io>>(16);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, streams) = (acceptor.clone(), streams.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    let _ = streams.send(Ok(Io(stream))).await;
                }
            });
        }
    });
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let server = Server::builder()
        .add_service(health)
        .add_service(PublisherServer::new(state.clone()))
        .add_service(ConsumerServer::new(state.clone()))
        .add_service(QueuesServer::new(state.clone()))
        .add_service(MessagesServer::new(state))
        .serve_with_incoming(ReceiverStream::new(incoming));
    tokio::spawn(server);
    address
}

struct Io(TlsStream<TcpStream>);

impl Connected for Io {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

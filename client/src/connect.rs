//! Connections to the server: TCP, TLS 1.3 with both certificates checked, HTTP/2. There is no other kind.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use posthouse_proto::split_body;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    body::Body,
    codegen::http::Response,
    transport::{Channel, Endpoint, Uri},
};
use tower::{ServiceExt as _, service_fn, util::MapResponse};

use crate::{
    context::{self, Context},
    error::{ConnectError, ContextError},
};

const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Largest HTTP/2 DATA frame that the server may send: with its head, 16 full records of TLS.
const H2_FRAME_BYTES: u32 = (256 << 10) - 9;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for the server's SETTINGS frame before the client sends its own all the same.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of it that are buffered: fewer than any later read asks for, so that later reads bypass the buffer.
const PEEK_BYTES: usize = 16;

/// Largest gRPC message that is decoded, in bytes: a batch of deliveries, or one message that is larger than a batch
/// may be.
pub(crate) const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

/// Connects to the context's endpoint. Certificates and key are read again for every new connection of the channel.
pub(crate) async fn connect(context: &Context) -> Result<Channel, ConnectError> {
    dial_with(context, None, |endpoint| endpoint).await
}

/// A channel whose answers have a [`split_body`].
pub(crate) type SplitChannel = MapResponse<Channel, fn(Response<Body>) -> Response<Body>>;

/// A connection for one stream. Dropping it aborts its tasks, and so breaks off the stream.
#[derive(Debug)]
pub(crate) struct Connection {
    channel: Channel,
    _tasks: Tasks,
}

impl Connection {
    /// Connects to `hint`, an address that the server has named, or else to the context's endpoint. Either must have a
    /// certificate for the context's server name.
    pub(crate) async fn open(context: &Context, hint: Option<&str>) -> Result<Self, ConnectError> {
        let tasks = Tasks::default();
        let executor = Spawner(Arc::downgrade(&tasks.0));
        let channel = dial_with(context, hint, |endpoint| endpoint.executor(executor)).await?;
        Ok(Self { channel, _tasks: tasks })
    }

    pub(crate) fn channel(&self) -> SplitChannel {
        self.channel.clone().map_response(split_body)
    }
}

/// The tasks of one connection. Dropping this aborts them.
#[derive(Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

#[derive(Debug)]
struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Spawner {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(task);
        }
    }
}

async fn dial_with(
    context: &Context,
    hint: Option<&str>,
    adjust: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, ConnectError> {
    let address: Arc<str> = hint.unwrap_or_else(|| context.endpoint()).into();
    let endpoint = adjust(endpoint(context, &address)?);
    let limit = context.connect_timeout();
    let context = context.clone();
    let connector = service_fn(move |_: Uri| {
        let (context, address) = (context.clone(), Arc::clone(&address));
        async move { dial(&context, &address).await.map(TokioIo::new) }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| ConnectError::of_transport(&error, limit))
}

fn endpoint(context: &Context, address: &str) -> Result<Endpoint, ContextError> {
    let wrong = || ContextError::Endpoint(address.to_owned());
    let (_, port) = context::split_endpoint(address).ok_or_else(wrong)?;
    let name = context.server_name();
    let authority = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
    let origin: Uri = format!("https://{authority}").parse().map_err(|_| wrong())?;
    // With `https`, tonic would ask for its own TLS; the connector does it here.
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| wrong())?;
    Ok(endpoint
        .origin(origin)
        .connect_timeout(context.connect_timeout())
        .max_frame_size(H2_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

async fn dial(context: &Context, address: &str) -> Result<BufReader<TlsStream<TcpStream>>, ConnectError> {
    let config = context.tls().config().await?;
    let name = context.server_name();
    let name =
        ServerName::try_from(name.to_owned()).map_err(|_| ContextError::ServerName(name.to_owned()))?;
    let endpoint = || address.to_owned();
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|error| ConnectError::Unreachable { endpoint: endpoint(), source: Arc::new(error) })?;
    // Frames are written whole; Nagle's algorithm would only add latency.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|error| ConnectError::handshake(address, error))?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(ConnectError::NotGrpc { endpoint: endpoint() });
    }
    await_server_settings(stream).await.map_err(|error| ConnectError::handshake(address, error))
}

/// Waits for the server's SETTINGS frame. With TLS 1.3 the client's handshake ends before the server has checked the
/// client's certificate; the alert that refuses it would be lost in the middle of HTTP/2. A Posthouse server sends
/// SETTINGS first.
async fn await_server_settings(stream: TlsStream<TcpStream>) -> io::Result<BufReader<TlsStream<TcpStream>>> {
    let mut stream = BufReader::with_capacity(PEEK_BYTES, stream);
    match timeout(SETTINGS_TIMEOUT, stream.fill_buf()).await {
        Ok(Ok([])) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection after the handshake",
        )),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(stream),
    }
}

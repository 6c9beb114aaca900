//! The transport of `echo` and `bare`: TCP, mutual TLS and HTTP/2 with the windows and frames of Posthouse.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use posthouse_proto::SplitBody;
use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tonic::{
    body::Body,
    codegen::http::{Request, Response, Uri},
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt as _, service_fn};

use super::certificates;

const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const H2_FRAME_BYTES: u32 = (256 << 10) - 9;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest message that either side decodes.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// Serves calls on this address until the process is killed.
pub async fn serve<S>(listen: SocketAddr, folder: &Path, calls: S) -> Result<()>
where
    S: Service<Request<SplitBody<Incoming>>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(certificates::server(folder)?));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, calls) = (acceptor.clone(), calls.clone());
        tokio::spawn(async move {
            // The load generator reports a connection that breaks.
            let _ = tcp.set_nodelay(true);
            if let Ok(stream) = acceptor.accept(tcp).await {
                let calls = calls.map_request(|request: Request<Incoming>| request.map(SplitBody::new));
                let calls = TowerToHyperService::new(calls);
                let _ = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .max_frame_size(H2_FRAME_BYTES)
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(stream), calls)
                    .await;
            }
        });
    }
}

/// Opens a new connection to such a server.
pub async fn connect(address: SocketAddr, folder: &Path) -> Result<Channel> {
    let connector = TlsConnector::from(Arc::new(certificates::client(folder)?));
    let origin: Uri = format!("https://{address}").parse()?;
    // For `https` tonic demands TLS of its own; here the connector does TLS.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_frame_size(H2_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let dial = service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move { dial(&connector, address).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(dial).await.with_context(|| format!("cannot connect to {address}"))
}

async fn dial(connector: &TlsConnector, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let stream = connector.connect(ServerName::from(address.ip()), tcp).await?;
    ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "{address} does not speak HTTP/2");
    Ok(stream)
}

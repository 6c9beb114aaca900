//! An HTTP/2 client with adjustable TLS.

use std::{future::Future, net::SocketAddr, sync::Arc};

use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::KeyPair;
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::certificates::provider;

type Body = Empty<bytes::Bytes>;

/// The alert that ended a connection.
#[derive(Debug, PartialEq)]
pub(super) struct Alert(pub(super) String);

impl PartialEq<AlertDescription> for Alert {
    fn eq(&self, other: &AlertDescription) -> bool {
        self.0 == format!("{other:?}")
    }
}

pub(super) struct Client {
    address: SocketAddr,
    root: CertificateDer<'static>,
    certificate: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    version: &'static SupportedProtocolVersion,
    alpn: Vec<Vec<u8>>,
}

pub(super) struct Connection {
    sender: SendRequest<Body>,
    driver: JoinHandle<Result<(), hyper::Error>>,
    pub(super) handshake: Option<HandshakeKind>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, root: CertificateDer<'static>) -> Self {
        Self { address, root, certificate: None, version: &TLS13, alpn: vec![b"h2".to_vec()] }
    }

    pub(super) fn certificate(mut self, certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        self.certificate = Some((certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into()));
        self
    }

    pub(super) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.version = version;
        self
    }

    pub(super) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    pub(super) fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.certificate {
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    pub(super) async fn handshake(&self) -> Result<TlsStream<TcpStream>, Alert> {
        self.handshake_with(Arc::new(self.config())).await
    }

    async fn handshake_with(&self, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Alert> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| alert(&error))
    }

    /// Connects and makes one call: in TLS 1.3 a client learns only then that its certificate was refused.
    pub(super) async fn connect(&self) -> Result<Connection, Alert> {
        self.connect_with(Arc::new(self.config())).await
    }

    pub(super) async fn connect_with(&self, config: Arc<ClientConfig>) -> Result<Connection, Alert> {
        let stream = self.handshake_with(config).await?;
        let handshake = stream.get_ref().1.handshake_kind();
        let io = TokioIo::new(stream);
        let (sender, driver) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| alert(&error))?;
        let mut connection = Connection { sender, driver: tokio::spawn(driver), handshake };
        match connection.get("/who").await {
            Ok(_) => Ok(connection),
            // The call fails with the connection; the connection's own end has the alert.
            Err(_) => Err(alert(&connection.driver.await.unwrap().unwrap_err())),
        }
    }
}

impl Connection {
    pub(super) async fn get(&mut self, path: &str) -> hyper::Result<String> {
        self.get_with_header(path, "").await
    }

    pub(super) async fn get_with_header(&mut self, path: &str, header: &str) -> hyper::Result<String> {
        self.start_with_header(path, header).await.await
    }

    /// Sends a request; the future is its answer.
    pub(super) async fn start(&mut self, path: &str) -> impl Future<Output = hyper::Result<String>> + use<> {
        self.start_with_header(path, "").await
    }

    async fn start_with_header(
        &mut self,
        path: &str,
        header: &str,
    ) -> impl Future<Output = hyper::Result<String>> + use<> {
        let uri = format!("https://localhost{path}");
        let request = Request::get(uri).header("x-test", header).body(Body::new()).unwrap();
        // An error here is the request's too.
        let _ = self.sender.ready().await;
        let response = self.sender.send_request(request);
        async move { Ok(response.await?.headers()["answer"].to_str().unwrap().to_owned()) }
    }

    /// Returns when the connection has ended.
    pub(super) async fn closed(self) {
        let _ = self.driver.await;
    }
}

/// The alert somewhere below an error. Some layers keep only its text.
fn alert(error: &(dyn std::error::Error + 'static)) -> Alert {
    let shown = format!("{error:?} {error}");
    match shown.split("fatal alert: ").nth(1).or_else(|| shown.split("AlertReceived(").nth(1)) {
        Some(rest) => Alert(rest.chars().take_while(char::is_ascii_alphanumeric).collect()),
        None => panic!("no alert in {shown}"),
    }
}

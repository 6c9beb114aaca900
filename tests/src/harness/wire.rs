//! Calls of the wire, frame by frame, also such as the client crate never makes.

use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use posthouse::dev::SERVER_NAME;
use posthouse_proto::v1::{
    consumer_client::ConsumerClient, messages_client::MessagesClient, publisher_client::PublisherClient,
    queues_client::QueuesClient,
};
use rustls::version::TLS13;
use tonic::{
    Request,
    transport::{Channel, Endpoint, Uri},
};

use super::{
    site::{Credentials, Site},
    tls,
};

/// A connection, and the token of its calls.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    token: Option<String>,
    /// Its sockets, to cut them.
    sockets: Sockets,
}

type Sockets = Arc<Mutex<Vec<std::net::TcpStream>>>;

impl Caller {
    /// Connects with these credentials.
    pub async fn connect(site: &Site, credentials: &Credentials) -> Self {
        let config = Arc::new(tls::config(site, &[&TLS13], Some(&credentials.certificate)));
        let listen = site.listen();
        let name = rustls_pki_types::ServerName::try_from(SERVER_NAME).unwrap();
        let sockets = Sockets::default();
        let opened = Arc::clone(&sockets);
        let connector = tower::service_fn(move |_: Uri| {
            let (config, name, sockets) = (Arc::clone(&config), name.clone(), Arc::clone(&opened));
            async move {
                let tcp = std::net::TcpStream::connect(listen)?;
                tcp.set_nodelay(true)?;
                tcp.set_nonblocking(true)?;
                sockets.lock().unwrap().push(tcp.try_clone()?);
                let tcp = tokio::net::TcpStream::from_std(tcp)?;
                let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // The connector does TLS; for `https`, tonic would require its own.
        let endpoint = Endpoint::from_shared(format!("http://{SERVER_NAME}:{}", listen.port())).unwrap();
        let channel = endpoint.connect_with_connector(connector).await.unwrap();
        Self { channel, token: Some(credentials.token.clone()), sockets }
    }

    /// A caller on the same connection with another token, or without one.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// A request with the token.
    pub fn request<T>(&self, body: T) -> Request<T> {
        let mut request = Request::new(body);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        request
    }

    /// `Publisher`.
    pub fn publisher(&self) -> PublisherClient<Channel> {
        PublisherClient::new(self.channel.clone())
    }

    /// `Consumer`.
    pub fn consumer(&self) -> ConsumerClient<Channel> {
        ConsumerClient::new(self.channel.clone())
    }

    /// `Queues`.
    pub fn queues(&self) -> QueuesClient<Channel> {
        QueuesClient::new(self.channel.clone())
    }

    /// `Messages`.
    pub fn messages(&self) -> MessagesClient<Channel> {
        MessagesClient::new(self.channel.clone())
    }

    /// Cuts the connection, as a broken cable does: no stream on it ends cleanly.
    pub fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            // The socket may be closed already.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Resets the connection when it is closed, so that TLS and HTTP/2 do not end.
    pub fn reset_when_closed(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let _inside = runtime.enter();
            // The option is the socket's, not this handle's.
            tokio::net::TcpStream::from_std(socket).unwrap().set_zero_linger().unwrap();
        }
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.sockets.lock().unwrap().len()
    }

    /// Its channel.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

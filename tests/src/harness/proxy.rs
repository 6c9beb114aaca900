//! A slow or broken network between a client and the server.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use posthouse_client::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::site::Site;

/// The interval at which a slow network forwards bytes.
const TICK: Duration = Duration::from_millis(20);
/// The socket buffers in each direction: small, so that the network is slow from the first byte.
const BUFFER_BYTES: u32 = 32 << 10;

/// The network. Dropping it breaks its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    cut: watch::Sender<u64>,
}

struct Shared {
    /// The limit in each direction of each connection; 0 is none.
    bytes_per_second: AtomicU64,
    refuses: AtomicBool,
    cut: watch::Receiver<u64>,
}

impl Proxy {
    /// A network to this server without a limit.
    pub async fn to(server: SocketAddr) -> Self {
        Self::slow(server, 0).await
    }

    /// A network with a limit in each direction of each connection.
    pub async fn slow(server: SocketAddr, bytes_per_second: u64) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if bytes_per_second > 0 {
            socket.set_recv_buffer_size(BUFFER_BYTES).unwrap();
            socket.set_send_buffer_size(BUFFER_BYTES).unwrap();
        }
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, cutting) = watch::channel(0);
        let shared = Shared {
            bytes_per_second: bytes_per_second.into(),
            refuses: AtomicBool::new(false),
            cut: cutting,
        };
        let shared = Arc::new(shared);
        let all = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !all.refuses.load(Ordering::Relaxed) {
                    tokio::spawn(Arc::clone(&all).pass(client, server));
                }
            }
        });
        Self { address, shared, cut }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A context whose endpoint is the network.
    pub fn context(&self, site: &Site, tenant: &str) -> Context {
        let file = site.context_file(tenant);
        let text = std::fs::read_to_string(&file).unwrap();
        let (from, to) = (site.listen().to_string(), self.address.to_string());
        assert!(text.contains(&from));
        std::fs::write(&file, text.replace(&from, &to)).unwrap();
        Context::load(file).unwrap()
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refuses.store(refuse, Ordering::Relaxed);
    }
}

impl Shared {
    async fn pass(self: Arc<Self>, client: TcpStream, server: SocketAddr) {
        let Ok(server) = self.connect(server).await else { return };
        let mut cut = self.cut.clone();
        cut.mark_unchanged();
        let (client, server) = (client.into_split(), server.into_split());
        tokio::select! {
            _ = async { tokio::join!(self.forward(client.0, server.1), self.forward(server.0, client.1)) } => {}
            // Also once the proxy is dropped.
            _ = cut.changed() => {}
        }
    }

    async fn connect(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.bytes_per_second.load(Ordering::Relaxed) > 0 {
            socket.set_recv_buffer_size(BUFFER_BYTES)?;
            socket.set_send_buffer_size(BUFFER_BYTES)?;
        }
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Forwards up to the end of one side, and ends the other side too.
    async fn forward(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let rate = self.bytes_per_second.load(Ordering::Relaxed);
            let max = if rate == 0 { buffer.len() } else { bytes_per_tick(rate).min(buffer.len()) };
            let passed = async {
                let count = from.read(&mut buffer[..max]).await?;
                to.write_all(&buffer[..count]).await?;
                io::Result::Ok(count)
            };
            match passed.await {
                Ok(0) | Err(_) => break,
                Ok(_) if rate > 0 => tokio::time::sleep(TICK).await,
                Ok(_) => {}
            }
        }
        // The other side may be closed.
        let _ = to.shutdown().await;
    }
}

fn bytes_per_tick(bytes_per_second: u64) -> usize {
    let ticks = 1_000 / u64::try_from(TICK.as_millis()).unwrap();
    usize::try_from(bytes_per_second / ticks).unwrap().max(1)
}

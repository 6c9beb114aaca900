//! A relay between clients and the server that can lose answers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

/// A relay. It runs until the test's runtime ends.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether the next connection receives nothing after its handshake.
    deaf: AtomicBool,
    open: Mutex<Vec<AbortHandle>>,
    accepted: AtomicUsize,
}

impl Relay {
    /// A relay to this server.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let state = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                state.accepted.fetch_add(1, Ordering::SeqCst);
                let deaf = state.deaf.swap(false, Ordering::SeqCst);
                let relay = tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        pass_on(client, server, deaf).await;
                    }
                });
                state.open.lock().unwrap().push(relay.abort_handle());
            }
        });
        Self { address, shared }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server receives the requests of the next connection, but its answers never arrive. The connection stays open
    /// until it is cut.
    pub fn lose_the_next_answers(&self) {
        self.shared.deaf.store(true, Ordering::SeqCst);
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.shared.open.lock().unwrap().drain(..).for_each(|relay| relay.abort());
    }

    /// The number of connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

/// The record that makes TLS 1.3 look like 1.2. The client may send it before it has read the server's whole handshake.
const CHANGE_CIPHER_SPEC_BYTES: usize = 6;

/// The progress of a handshake.
#[derive(Default)]
struct Handshake {
    /// The server has sent something.
    begun: AtomicBool,
    /// The client has answered the server's handshake, so it has read all of it.
    done: AtomicBool,
}

async fn pass_on(client: TcpStream, server: TcpStream, deaf: bool) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let handshake = Arc::<Handshake>::default();
    let asked = tokio::spawn(ask(from_client, to_server, Arc::clone(&handshake)));
    let _stop = Stop(asked.abort_handle());
    answer(from_server, to_client, &handshake, deaf).await;
    let _ = asked.await;
}

/// Aborts the task when the relay is dropped.
struct Stop(AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, handshake: Arc<Handshake>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut bytes).await {
        if read > CHANGE_CIPHER_SPEC_BYTES && handshake.begun.load(Ordering::SeqCst) {
            handshake.done.store(true, Ordering::SeqCst);
        }
        if server.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, handshake: &Handshake, deaf: bool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = server.read(&mut bytes).await {
        if deaf && handshake.done.load(Ordering::SeqCst) {
            continue;
        }
        handshake.begun.store(true, Ordering::SeqCst);
        if client.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

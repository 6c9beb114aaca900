//! A relay between client and server that can cut its connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

#[derive(Clone)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    open: Mutex<Vec<AbortHandle>>,
    down: AtomicBool,
    accepted: AtomicUsize,
}

impl Wire {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&wire.state);
        tokio::spawn(async move {
            loop {
                let Ok((mut client, _)) = listener.accept().await else { return };
                if state.down.load(Ordering::SeqCst) {
                    continue;
                }
                state.accepted.fetch_add(1, Ordering::SeqCst);
                let relay = tokio::spawn(async move {
                    if let Ok(mut upstream) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
                state.open.lock().unwrap().push(relay.abort_handle());
            }
        });
        wire
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for relay in self.state.open.lock().unwrap().drain(..) {
            relay.abort();
        }
    }

    /// Whether new connections are refused.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

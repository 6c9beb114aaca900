//! Many connections at once: silent ones, unfinished handshakes, and handshakes that no call follows.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use posthouse::dev::SERVER_NAME;
use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{
    Ended,
    calls::{HEALTH, Head, prefixed},
    line::{Line, handshake},
    target::Target,
};

/// How long an answer may take before the attacker tries again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address of a host; each host is in a network of its own.
fn host(number: usize) -> IpAddr {
    let part = u8::try_from(number % 250).unwrap();
    Ipv4Addr::new(127, 10 + part, part, 1 + part).into()
}

async fn from(target: &Target, from: usize) -> Result<TcpStream, Ended> {
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((host(from), 0)))?;
        socket.connect(target.listen).await
    };
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(tcp)) => {
            target.tally.connected();
            Ok(tcp)
        }
        Ok(Err(error)) => Err(format!("connect: {}", error.kind())),
        Err(_) => Err("connect: no answer".to_owned()),
    }
}

/// Opens a connection and sends nothing until the server closes it.
pub(super) async fn silent(target: Target, host: usize) -> Result<(), Ended> {
    let mut tcp = from(&target, host).await?;
    target.tally.add(1);
    match tcp.read(&mut [0; 64]).await {
        Ok(0) => Err("closed".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("read: {}", error.kind())),
    }
}

/// Sends the beginning of a handshake, and no more.
pub(super) async fn client_hello(target: Target, host: usize) -> Result<(), Ended> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::clone(&target.stranger), name).unwrap().write_tls(&mut hello).unwrap();
    loop {
        let mut tcp = from(&target, host).await?;
        if tcp.write_all(&hello).await.is_ok() {
            // The answer is the server's cost.
            let _ = tokio::time::timeout(PATIENCE, tcp.read(&mut [0; 4096])).await;
        }
        target.tally.add(1);
    }
}

/// Makes handshakes without a certificate, each of which is refused.
pub(super) async fn stranger(target: Target) -> Result<(), Ended> {
    let config = Arc::clone(&target.stranger);
    loop {
        let mut tls = handshake(&target, &config).await?;
        let refusal = tokio::time::timeout(PATIENCE, tls.read(&mut [0; 64])).await;
        target.tally.add(1);
        if let Ok(Err(error)) = refusal {
            target.tally.ended(&error.to_string());
        }
    }
}

/// Makes handshakes with a good certificate and connects again at once, as a client does whose connection was closed.
pub(super) async fn citizen(target: Target) -> Result<(), Ended> {
    loop {
        let mut tls = handshake(&target, &target.citizen).await?;
        // The server's settings show that it has accepted the certificate.
        let _ = tokio::time::timeout(PATIENCE, tls.read(&mut [0; 64])).await;
        target.tally.connected();
        target.tally.add(1);
    }
}

/// Opens a connection with a good certificate and makes no call, or only one that needs no token.
pub(super) async fn idle(target: Target, health: bool) -> Result<(), Ended> {
    let line = Line::open(&target).await?;
    target.tally.add(1);
    if health {
        line.calls(&Head::new(HEALTH, None), &prefixed(&[]).into(), 1).await?;
    }
    line.over().await
}

//! HTTP/2 frame by frame, for what no client library would send.

use std::sync::Arc;

use bytes::Bytes;
use posthouse::dev::SERVER_NAME;
use rustls::version::TLS13;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    PATIENCE,
    frames::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
        literal, text,
    },
    site::{Credentials, Site},
    tls,
};

pub use super::frames::{data, message, reset, stream_windows, trailers, window};

/// `RST_STREAM` without an error, as a server sends it that needs no more of a request.
pub const NO_ERROR: u32 = 0;
/// `RST_STREAM` of a client with an internal error.
pub const INTERNAL_ERROR: u32 = 2;
/// `RST_STREAM` of a cancelled call.
pub const CANCEL: u32 = 8;

/// A connection that sends nothing by itself.
pub struct Http2 {
    stream: TlsStream<TcpStream>,
    token: String,
}

/// A frame of the server, as far as tests need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Headers, or trailers if they end the stream: its id, whether it ends.
    Head(u32, bool),
    /// Data of a stream: its id, the bytes, whether it ends.
    Data(u32, Bytes, bool),
    /// A stream was reset: its id, the error code.
    Reset(u32, u32),
    /// The connection ends: the error code.
    GoAway(u32),
    /// The answer to a ping.
    Pong,
    /// Anything else.
    Other,
    /// The server has closed the connection.
    Closed,
}

impl Http2 {
    /// A TLS connection on which HTTP/2 has begun.
    pub async fn connect(site: &Site, credentials: &Credentials) -> Self {
        let tcp = TcpStream::connect(site.listen()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::over(tcp, site, credentials).await
    }

    /// Begins HTTP/2 with TLS over this TCP connection.
    pub async fn over(tcp: TcpStream, site: &Site, credentials: &Credentials) -> Self {
        let config = tls::config(site, &[&TLS13], Some(&credentials.certificate));
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let mut connection = Self { stream, token: credentials.token.clone() };
        connection.stream.write_all(PREFACE).await.unwrap();
        connection.send(&[frame(SETTINGS, 0, 0, &[])]).await;
        connection
    }

    /// Begins a call of a method. Whether the server accepts it shows in its next frames.
    pub async fn begin(&mut self, stream: u32, path: &str) {
        let head = self.head(stream, path, &[]);
        self.send(&[head]).await;
    }

    /// The headers that begin a call, with further ones of the test.
    pub fn head(&self, stream: u32, path: &str, headers: &[(&str, &str)]) -> Bytes {
        let mut block = vec![0x83, 0x86];
        literal(&mut block, 4, path);
        literal(&mut block, 1, SERVER_NAME);
        literal(&mut block, 31, "application/grpc");
        literal(&mut block, 23, &format!("Bearer {}", self.token));
        for (name, value) in [("te", "trailers")].iter().chain(headers) {
            block.push(0);
            text(&mut block, name);
            text(&mut block, value);
        }
        frame(HEADERS, END_HEADERS, stream, &block)
    }

    /// Sends frames with one write.
    pub async fn send(&mut self, frames: &[Bytes]) {
        // If the connection is closed, `next` returns that.
        let _ = self.stream.write_all(&frames.concat()).await;
        let _ = self.stream.flush().await;
    }

    /// Ends the connection with a TLS alert and without GOAWAY.
    pub async fn farewell(mut self) {
        // The server may have closed it first.
        let _ = self.stream.shutdown().await;
    }

    /// The TCP connection below.
    pub fn into_tcp(self) -> TcpStream {
        self.stream.into_inner().0
    }

    /// Asks for a pong, which the server sends after the answers to all earlier frames.
    pub async fn ping(&mut self) {
        self.send(&[frame(PING, 0, 0, &[0; 8])]).await;
    }

    /// The next frame of the server.
    pub async fn next(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("the server is silent")
    }

    async fn read(&mut self) -> Frame {
        let mut head = [0; 9];
        if self.stream.read_exact(&mut head).await.is_err() {
            return Frame::Closed;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if self.stream.read_exact(&mut payload).await.is_err() {
            return Frame::Closed;
        }
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        match (head[3], head[4]) {
            (RST_STREAM, _) => Frame::Reset(stream, number(0)),
            (GOAWAY, _) => Frame::GoAway(number(4)),
            (PING, ACK) => Frame::Pong,
            (DATA, flags) => Frame::Data(stream, payload.into(), flags & END_STREAM != 0),
            (HEADERS, flags) => Frame::Head(stream, flags & END_STREAM != 0),
            (SETTINGS, 0) => {
                self.send(&[frame(SETTINGS, ACK, 0, &[])]).await;
                Frame::Other
            }
            (PING, 0) => {
                self.send(&[frame(PING, ACK, 0, &payload)]).await;
                Frame::Other
            }
            _ => Frame::Other,
        }
    }
}

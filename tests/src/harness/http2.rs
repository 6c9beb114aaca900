//! HTTP/2 frame by frame, for what no client library would send.

use posthouse::dev::SERVER_NAME;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;
use super::site::{Credentials, Site};
use super::tls;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A connection on which nothing is done by itself, but what came with it is answered.
pub struct Http2 {
    stream: TlsStream<TcpStream>,
    token: String,
}

/// What the server sent that a test asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
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
        let config = tls::config(site, &[&TLS13], Some(&credentials.certificate));
        let stream = tls::connect(site, config).await.unwrap();
        let mut connection = Self { stream, token: credentials.token.clone() };
        connection.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        connection.send(SETTINGS, 0, 0, &[]).await;
        connection
    }

    /// Begins a call of a method and leaves it at that. Whether the server still listens is seen at what it sends.
    pub async fn begin(&mut self, stream: u32, path: &str) {
        let mut block = vec![0x83, 0x86];
        literal(&mut block, 4, path);
        literal(&mut block, 1, SERVER_NAME);
        literal(&mut block, 31, "application/grpc");
        literal(&mut block, 23, &format!("Bearer {}", self.token));
        block.extend_from_slice(b"\x00\x02te\x08trailers");
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    /// Asks for a pong, which comes after the answer to all that was sent before.
    pub async fn ping(&mut self) {
        self.send(PING, 0, 0, &[0; 8]).await;
    }

    /// The next frame of the server.
    pub async fn next(&mut self) -> Frame {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("the server is silent")
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // A closed connection is told by `next`.
        let _ = self.stream.write_all(&frame).await;
        let _ = self.stream.flush().await;
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
            (SETTINGS, 0) => {
                self.send(SETTINGS, ACK, 0, &[]).await;
                Frame::Other
            }
            _ => Frame::Other,
        }
    }
}

/// A header field whose name is in HPACK's static table, neither indexed nor compressed.
fn literal(block: &mut Vec<u8>, name: usize, value: &str) {
    integer(block, 0x0f, name);
    integer(block, 0x7f, value.len());
    block.extend_from_slice(value.as_bytes());
}

/// A number after RFC 7541, section 5.1, with nothing in the bits before its prefix.
fn integer(block: &mut Vec<u8>, prefix: usize, mut number: usize) {
    if number < prefix {
        return block.push(u8::try_from(number).unwrap());
    }
    block.push(u8::try_from(prefix).unwrap());
    number -= prefix;
    while number >= 128 {
        block.push(u8::try_from(number % 128 + 128).unwrap());
        number /= 128;
    }
    block.push(u8::try_from(number).unwrap());
}

//! A connection that sends any bytes at full speed and reads the answers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use posthouse::dev::SERVER_NAME;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::Notify,
    task::{AbortHandle, JoinHandle},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Ended,
    calls::Head,
    streams::{End, Streams},
    tally::Tally,
    target::Target,
};
use crate::harness::frames::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PING, PREFACE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, data, frame, stream_windows, window,
};

/// The largest window that HTTP/2 knows.
pub(super) const OPEN: u32 = (1 << 31) - 1;
/// The window of a connection: half of the largest, so that it can be enlarged.
const CONNECTION: u32 = 1 << 30;
/// The bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// The received bytes after which the connection's window is enlarged again.
const WINDOW_UPDATE_AFTER: u32 = 1 << 20;
/// How long to wait for the last frames of a server that has closed.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long a connection, a handshake or a first answer may take.
const CONNECT: Duration = Duration::from_secs(10);

type Tls = TlsStream<TcpStream>;

/// A connection. Dropping it closes it without GOAWAY.
pub(super) struct Line {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

struct Shared {
    out: tokio::sync::Mutex<Out>,
    streams: Streams,
    /// Answers to the server's pings and settings that the writer has yet to send.
    owed: Mutex<Vec<u8>>,
    owing: Notify,
    tally: Arc<Tally>,
}

struct Out {
    write: WriteHalf<Tls>,
    next: u32,
}

/// A TLS handshake with the server.
pub(super) async fn handshake(target: &Target, config: &Arc<ClientConfig>) -> Result<Tls, Ended> {
    let connecting = async {
        let tcp = TcpStream::connect(target.listen).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        TlsConnector::from(Arc::clone(config)).connect(name, tcp).await
    };
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => Err(format!("handshake: {error}")),
        Err(_) => Err("handshake: no answer".to_owned()),
    }
}

impl Line {
    /// Opens a connection with the attacker's certificate whose answers are read.
    pub(super) async fn open(target: &Target) -> Result<Self, Ended> {
        Self::with_window(target, OPEN).await
    }

    /// Opens a connection on which each stream has this window.
    pub(super) async fn with_window(target: &Target, stream_window: u32) -> Result<Self, Ended> {
        let mut tls = handshake(target, &target.citizen).await?;
        let begin = [PREFACE, &stream_windows(stream_window), &window(0, CONNECTION)].concat();
        let beginning = async {
            tls.write_all(&begin).await?;
            tls.flush().await
        };
        beginning.await.map_err(|error| format!("begin: {error}"))?;
        target.tally.connected();
        let (read, write) = tokio::io::split(tls);
        let shared = Arc::new(Shared {
            out: tokio::sync::Mutex::new(Out { write, next: 1 }),
            streams: Streams::default(),
            owed: Mutex::default(),
            owing: Notify::new(),
            tally: Arc::clone(&target.tally),
        });
        let reading = tokio::spawn(read_frames(read, Arc::clone(&shared)));
        let paying = tokio::spawn(pay(Arc::clone(&shared)));
        Ok(Self { shared, tasks: [&reading, &paying].map(JoinHandle::abort_handle) })
    }

    /// Sends bytes as they are; fails with the server's reason once the connection is closed.
    pub(super) async fn send(&self, bytes: &[u8]) -> Result<(), Ended> {
        let mut out = self.shared.out.lock().await;
        let sent = self.shared.write(&mut out, bytes).await;
        drop(out);
        match sent {
            Ok(()) => Ok(()),
            Err(why) => Err(self.why(&why).await),
        }
    }

    /// Begins a call and returns its stream.
    pub(super) async fn begin(&self, head: &Head, ends: bool) -> Result<u32, Ended> {
        let mut out = self.shared.out.lock().await;
        let id = self.shared.next(&mut out);
        let sent = self.shared.write(&mut out, &head.frames(id, ends)).await;
        drop(out);
        match sent {
            Ok(()) => Ok(id),
            Err(why) => Err(self.why(&why).await),
        }
    }

    /// Begins and ends `count` calls with one write.
    pub(super) async fn calls(&self, head: &Head, body: &Bytes, count: usize) -> Result<(), Ended> {
        self.calls_with(head, count, || body.clone()).await
    }

    /// Begins and ends calls with one write, each with a body of its own.
    pub(super) async fn calls_with(
        &self,
        head: &Head,
        count: usize,
        body: impl Fn() -> Bytes,
    ) -> Result<(), Ended> {
        let mut out = self.shared.out.lock().await;
        let mut bytes = Vec::new();
        for _ in 0..count {
            let id = self.shared.next(&mut out);
            bytes.extend(head.frames(id, false));
            bytes.extend(data(id, &body(), true));
        }
        let sent = self.shared.write(&mut out, &bytes).await;
        drop(out);
        match sent {
            Ok(()) => Ok(()),
            Err(why) => Err(self.why(&why).await),
        }
    }

    /// Reserves stream ids; the caller makes the frames.
    pub(super) async fn reserve(&self, count: usize) -> Vec<u32> {
        let mut out = self.shared.out.lock().await;
        (0..count).map(|_| out.next()).collect()
    }

    /// Sends a body as fast as the windows allow, or less of it once the stream has ended.
    pub(super) async fn body(&self, id: u32, bytes: &[u8], ends: bool) -> Result<usize, Ended> {
        let mut sent = 0;
        while sent < bytes.len() {
            let count = self.shared.streams.acquire(id, bytes.len() - sent).await?;
            if count == 0 {
                return Ok(sent);
            }
            let last = ends && sent + count == bytes.len();
            self.send(&data(id, &bytes[sent..sent + count], last)).await?;
            sent += count;
        }
        Ok(sent)
    }

    /// Acquires up to `wanted` bytes of the windows, which the caller then sends.
    pub(super) async fn acquire(&self, id: u32, wanted: usize) -> Result<usize, Ended> {
        self.shared.streams.acquire(id, wanted).await
    }

    /// Waits for a stream's end.
    pub(super) async fn end(&self, id: u32) -> Result<End, Ended> {
        self.shared.streams.end(id).await
    }

    /// Waits until `count` streams have ended.
    pub(super) async fn until_ended(&self, count: u64) -> Result<(), Ended> {
        self.shared.streams.until_ended(count).await?;
        self.shared.streams.forget_ended();
        Ok(())
    }

    /// Waits until the connection is over.
    pub(super) async fn over(&self) -> Result<(), Ended> {
        Err(self.shared.streams.over().await)
    }

    /// Why a write failed: the server's reason, if it arrives.
    async fn why(&self, error: &str) -> String {
        match tokio::time::timeout(LAST_WORDS, self.shared.streams.over()).await {
            Ok(why) => why,
            Err(_) => error.to_owned(),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Out {
    fn next(&mut self) -> u32 {
        // When the ids are used up, the server closes the connection.
        let id = self.next;
        self.next = id.wrapping_add(2) & OPEN;
        id
    }
}

impl Shared {
    fn next(&self, out: &mut Out) -> u32 {
        let id = out.next();
        self.streams.begin(id);
        id
    }

    async fn write(&self, out: &mut Out, bytes: &[u8]) -> Result<(), Ended> {
        if let Some(why) = self.streams.is_over() {
            return Err(why);
        }
        let owed = std::mem::take(&mut *self.owed.lock().unwrap());
        let writing = async {
            out.write.write_all(&owed).await?;
            out.write.write_all(bytes).await?;
            out.write.flush().await
        };
        writing.await.map_err(|error| format!("write: {}", error.kind()))?;
        self.tally.sent(bytes.len());
        Ok(())
    }

    fn owe(&self, frame: &Bytes) {
        self.owed.lock().unwrap().extend_from_slice(frame);
        self.owing.notify_one();
    }

    /// Handles one frame of the server.
    fn on_frame(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at: usize| {
            payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()))
        };
        let end = match (kind, flags) {
            (DATA, flags) => self.streams.on_frame(stream, true, flags & END_STREAM != 0, false),
            (HEADERS, flags) => self.streams.on_frame(stream, false, flags & END_STREAM != 0, false),
            (RST_STREAM, _) => self.streams.on_frame(stream, false, true, true),
            (SETTINGS, 0) => {
                for setting in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    match u16::from_be_bytes([setting[0], setting[1]]) {
                        INITIAL_WINDOW_SIZE => self.streams.initial(value),
                        MAX_FRAME_SIZE => self.streams.frame(value),
                        _ => {}
                    }
                }
                self.owe(&frame(SETTINGS, ACK, 0, &[]));
                None
            }
            (PING, 0) => {
                self.owe(&frame(PING, ACK, 0, payload));
                None
            }
            (WINDOW_UPDATE, _) => {
                self.streams.widen(stream, number(0) & OPEN);
                None
            }
            (GOAWAY, _) => {
                // A first GOAWAY with the highest stream id only asks to leave, which an attacker ignores.
                if number(0) & OPEN < OPEN || number(4) != 0 {
                    let words = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
                    self.streams.close(&format!("GOAWAY {} {words}", code(number(4))));
                }
                None
            }
            _ => None,
        };
        match end {
            Some(End::Answered) => self.tally.answered(),
            Some(End::Refused) => self.tally.refused(),
            Some(End::Reset) => self.tally.reset(),
            None => {}
        }
    }
}

/// Reads frames until the server closes.
async fn read_frames(mut read: ReadHalf<Tls>, shared: Arc<Shared>) {
    let (mut buffer, mut received) = (BytesMut::new(), 0);
    loop {
        buffer.reserve(READ_BYTES);
        match read.read_buf(&mut buffer).await {
            Ok(0) => return shared.streams.close("closed"),
            Ok(count) => shared.tally.received(count),
            Err(error) => return shared.streams.close(&format!("read: {error}")),
        }
        while let Some(head) = buffer.get(..9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
            let whole = 9 + length as usize;
            let Some(payload) = buffer.get(9..whole) else { break };
            shared.on_frame(kind, flags, stream, payload);
            received += if kind == DATA { length } else { 0 };
            let _ = buffer.split_to(whole);
        }
        if received > WINDOW_UPDATE_AFTER {
            shared.owe(&window(0, std::mem::take(&mut received)));
        }
    }
}

/// Sends the owed answers while nothing else is sent.
async fn pay(shared: Arc<Shared>) {
    loop {
        shared.owing.notified().await;
        let mut out = shared.out.lock().await;
        if shared.write(&mut out, &[]).await.is_err() {
            return;
        }
    }
}

/// The name of an error code of HTTP/2 (RFC 9113, 7).
fn code(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).copied().unwrap_or("an unknown error")
}

//! The encrypted stream as HTTP/2 sees it: the bytes in both directions are counted and weighed. When HTTP/2 is done,
//! the stream is returned, to be closed so that the peer gets the last answers.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{
    frames::{Flood, Frames, LEAST_DATA_FRAME},
    unread::Unread,
};
use crate::limits::{LEAST_PROGRESS_BYTES, PROGRESS_INTERVAL, UNTAKEN_PATIENCE};

type Encrypted = TlsStream<TcpStream>;

/// The stream, lent to HTTP/2.
pub(super) struct Transport {
    /// Until it is dropped.
    stream: Option<Encrypted>,
    passed: Passed,
    frames: Frames,
    unread: Unread,
    /// While the stream is not read: until when, and how much waited when that began.
    pause: Option<(Pin<Box<Sleep>>, usize)>,
    back: Option<oneshot::Sender<Encrypted>>,
}

/// The bytes that have moved in either direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    bytes: Arc<AtomicU64>,
    /// Set when too many frames arrived: HTTP/2 does not pass on the error that it gets.
    flood: Arc<OnceLock<Flood>>,
}

impl Passed {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Why the stream is not read any more, if that is so.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get().copied()
    }

    /// Returns when hardly anything has passed for a while: less than calls under way, more than pings alone.
    pub(super) async fn stalled(&self) {
        loop {
            let before = self.bytes.load(Ordering::Relaxed);
            sleep(PROGRESS_INTERVAL).await;
            if self.bytes.load(Ordering::Relaxed).saturating_sub(before) < LEAST_PROGRESS_BYTES {
                return;
            }
        }
    }
}

impl Transport {
    /// Lends a stream out; it is returned when this is dropped.
    pub(super) fn lend(stream: Encrypted, unread: Unread) -> (Self, Passed, oneshot::Receiver<Encrypted>) {
        let (back, returned) = oneshot::channel();
        let (passed, frames) = (Passed::default(), Frames::new(Instant::now()));
        let (stream, back, pause) = (Some(stream), Some(back), None);
        (Self { stream, passed: passed.clone(), frames, unread, pause, back }, passed, returned)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Encrypted>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// How many small frames may arrive; waits while the limit is reached. If none of them is consumed for long, they
    /// may belong to calls that have ended: then the library, which counts exactly but ends the connection, decides.
    fn poll_capacity(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        loop {
            if let Poll::Ready(capacity) = self.unread.poll_capacity(context) {
                self.pause = None;
                return Poll::Ready(capacity);
            }
            let waiting = self.unread.frames();
            let (until, began_with) =
                self.pause.get_or_insert_with(|| (Box::pin(sleep(UNTAKEN_PATIENCE)), waiting));
            ready!(until.as_mut().poll(context));
            if waiting >= *began_with {
                self.unread.forget();
            }
            self.pause = None;
        }
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.passed.add(bytes);
            self.frames.wrote(bytes);
        }
        written
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        tracing::trace!(least = self.frames.least(), "control frames that were left of the allowance");
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // If nobody waits for it, it is closed here.
            drop(back.send(stream));
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let capacity = ready!(self.poll_capacity(context));
        let max = self.frames.left().saturating_add(capacity * LEAST_DATA_FRAME);
        let before = buffer.filled().len();
        if max < buffer.remaining() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(max));
            ready!(self.stream()?.poll_read(context, &mut part))?;
            let read = part.filled().len();
            buffer.advance(read);
        } else {
            ready!(self.stream()?.poll_read(context, buffer))?;
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.passed.add(new.len());
        match self.frames.read(new, Instant::now()) {
            Ok(small) => {
                self.unread.arrived(small);
                Poll::Ready(Ok(()))
            }
            Err(flood) => {
                // Once: nothing is read afterwards.
                let _ = self.passed.flood.set(flood);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, flood)))
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(context, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

/// Closes a stream so that its peer gets what was written last. Closing it while the peer still sends, or with unread
/// bytes of the peer, would reset the connection and lose the bytes on their way to the peer. So this side is shut
/// down, and the peer's end is awaited, up to `patience`.
pub(super) async fn close(mut stream: Encrypted, patience: Duration) {
    let closing = async {
        stream.shutdown().await?;
        let (mut stream, _) = stream.into_inner();
        discard(&mut stream).await
    };
    // However it ends, the stream is closed.
    let _ = timeout(patience, closing).await;
}

/// Reads to the peer's end.
async fn discard(stream: &mut TcpStream) -> io::Result<()> {
    // Not on the stack: it would be a part of every connection's task from its beginning.
    let mut rubbish = vec![0; 4 << 10];
    while stream.read(&mut rubbish).await? > 0 {}
    Ok(())
}

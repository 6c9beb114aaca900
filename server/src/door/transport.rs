//! The encrypted stream as HTTP/2 has it: what passes is counted, and when HTTP/2 is done, the stream comes back, to be closed
//! so that the peer gets the last answers.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use crate::limits::{LEAST_PROGRESS_BYTES, PROGRESS_INTERVAL};

type Encrypted = TlsStream<TcpStream>;

/// The stream, lent to HTTP/2.
pub(super) struct Transport {
    /// Until it is dropped.
    stream: Option<Encrypted>,
    passed: Passed,
    back: Option<oneshot::Sender<Encrypted>>,
}

/// How many bytes have passed, in either direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed(Arc<AtomicU64>);

impl Passed {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns when hardly anything has passed for a while: less than calls under way, more than pings alone.
    pub(super) async fn stalled(&self) {
        loop {
            let before = self.0.load(Ordering::Relaxed);
            sleep(PROGRESS_INTERVAL).await;
            if self.0.load(Ordering::Relaxed).saturating_sub(before) < LEAST_PROGRESS_BYTES {
                return;
            }
        }
    }
}

impl Transport {
    /// Lends a stream out; it comes back when this is dropped.
    pub(super) fn lend(stream: Encrypted) -> (Self, Passed, oneshot::Receiver<Encrypted>) {
        let (back, returned) = oneshot::channel();
        let passed = Passed::default();
        (Self { stream: Some(stream), passed: passed.clone(), back: Some(back) }, passed, returned)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Encrypted>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.passed.add(bytes);
        }
        written
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
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
        let before = buffer.filled().len();
        let read = self.stream()?.poll_read(context, buffer);
        self.passed.add(buffer.filled().len().saturating_sub(before));
        read
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

/// Closes a stream so that its peer gets what was written last: to close it while the peer still sends, or with bytes of the
/// peer's unread, would reset the connection, and what is on its way to the peer would be lost. So its end is told, and the
/// peer's is waited for, up to `patience`.
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

//! The server's half of a stream. Frames for a client that reads slowly wait here, so that the stream's task does not
//! wait: it must notice when its token expires and when the server drains.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use posthouse_proto::v1::ErrorReason;
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    account::{Account, Charge, ConnectionAccounts, Wanted},
    door::CallTask,
    limits::{UNREAD_ANSWER_BYTES, UNREAD_PATIENCE},
    rpc::wire::status::ApiError,
};

/// Frames that are passed on to the network at once. Further ones wait in the outbox.
const MAX_FRAMES_OUT: usize = 4;
/// Waiting frames. While there are so many, the client's frames are not read.
const MAX_FRAMES_WAITING: usize = 64;
/// How long a client of a stream that ends may read nothing while answers wait for it.
const UNREAD: Duration = Duration::from_secs(5);

/// A frame that answers the client, and the charge for it.
pub(crate) type ChargedFrame<F> = (F, Charge);

/// An answer that is not ready yet.
pub(crate) type PendingAnswer<F> = Pin<Box<dyn Future<Output = Result<ChargedFrame<F>, ApiError>> + Send>>;

/// The client has reset the call, or its connection was closed.
#[derive(Debug)]
pub(crate) struct Disconnected;

/// How much waits in an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxState {
    /// No frame waits in the outbox; a few may be on their way to the network.
    pub(crate) clear: bool,
    /// So little waits that the client's frames are read.
    pub(crate) has_capacity: bool,
}

/// Where a stream's task puts its frames.
pub(crate) struct Outbox<F> {
    frames: mpsc::Sender<QueuedFrame<F>>,
    /// Frames that were passed on, and that the network has not sent.
    in_flight: Arc<UnsentCounts>,
    /// When the leases of the last deliveries end.
    leased_until: Option<Instant>,
    waiting: VecDeque<QueuedFrame<F>>,
    /// The charge for the frames that wait.
    waiting_bytes: u64,
    end: oneshot::Sender<ApiError>,
    sent_at: Instant,
    /// The task of the stream's call, which knows what the network has sent.
    task: CallTask,
    /// The account that answers are charged to.
    account: Account,
    /// Counts calls that end because their client does not read.
    unread: IntCounter,
    /// Bytes of the call that the network had sent when it last made progress, and when that was.
    progress: (u64, Instant),
}

/// Counts frames that were passed on, and that the network has not sent.
#[derive(Default)]
struct UnsentCounts {
    frames: AtomicUsize,
    /// The charge for answers among them.
    bytes: AtomicU64,
    /// Cancelled when all frames are sent and no more come, or when the call has ended.
    ended: CancellationToken,
}

/// A frame, and the charge for it until it is encoded.
struct QueuedFrame<F> {
    frame: F,
    charge: Option<Charge>,
}

/// An outbox, and the stream of its frames, which ends with the outbox's error, if any.
pub(crate) fn outbox<F: Send + 'static>(
    task: CallTask,
    accounts: &ConnectionAccounts,
) -> (Outbox<F>, impl Stream<Item = Result<F, Status>> + Send + 'static + use<F>) {
    let (frames, out) = mpsc::channel(MAX_FRAMES_OUT);
    let (end, ended) = oneshot::channel::<ApiError>();
    let ended = ended.map(|error| stream::iter(error.ok().map(|error| Err(error.into()))));
    let in_flight = Arc::new(UnsentCounts::default());
    let (counts, end_guard) = (Arc::clone(&in_flight), in_flight.ended.clone().drop_guard());
    let out = ReceiverStream::new(out).map(move |queued: QueuedFrame<F>| {
        let _end_guard = &end_guard;
        counts.frames.fetch_sub(1, Ordering::Relaxed);
        counts.bytes.fetch_sub(queued.bytes(), Ordering::Relaxed);
        Ok(queued.frame)
    });
    let (waiting, now) = (VecDeque::new(), Instant::now());
    let progress = (0, now);
    let outbox = Outbox {
        frames,
        in_flight,
        leased_until: None,
        waiting,
        waiting_bytes: 0,
        end,
        sent_at: now,
        task,
        account: accounts.requests.clone(),
        unread: accounts.counters.unread.clone(),
        progress,
    };
    (outbox, out.chain(ended.flatten_stream()))
}

impl<F> Outbox<F> {
    /// Sends a frame as soon as the client reads it.
    pub(crate) fn send(&mut self, frame: F) {
        self.put(QueuedFrame { frame, charge: None });
    }

    /// Sends an answer, whose charge is released when it is encoded.
    pub(crate) fn answer(&mut self, (frame, charge): ChargedFrame<F>) {
        self.put(QueuedFrame { frame, charge: Some(charge) });
    }

    /// Sends deliveries, which a client may leave unread until their leases end.
    pub(crate) fn deliver(&mut self, frame: F, leased_until: Instant) {
        self.leased_until = self.leased_until.max(Some(leased_until));
        self.send(frame);
    }

    /// How much waits.
    pub(crate) fn state(&self) -> OutboxState {
        OutboxState {
            clear: self.waiting.is_empty(),
            has_capacity: self.waiting.len() < MAX_FRAMES_WAITING && self.waiting_bytes < UNREAD_ANSWER_BYTES,
        }
    }

    /// Whether the call is to be ended: the client has read nothing for too long, and leaves unread too many bytes of
    /// answers, or any answer while the account has no capacity for requests, or deliveries whose leases have ended. It
    /// must be called regularly.
    pub(crate) fn is_stuck(&mut self) -> bool {
        let sent = self.task.sent();
        let answers = self.waiting_bytes + self.in_flight.bytes.load(Ordering::Relaxed);
        let blocks_others = || answers > 0 && !self.account.has_capacity(Wanted::Request);
        let too_late = || !self.is_read() && self.leased_until.is_some_and(|until| until <= Instant::now());
        let too_much = self.waiting_bytes >= UNREAD_ANSWER_BYTES || blocks_others() || too_late();
        if !too_much || sent != self.progress.0 {
            self.progress = (sent, Instant::now());
        }
        self.progress.1.elapsed() >= UNREAD_PATIENCE
    }

    /// Ends the call at once: its client reads no answer. Returns the error for the stream's task.
    pub(crate) fn cut_off(&self) -> ApiError {
        self.unread.inc();
        self.task.end();
        let text = "the stream has ended: too many of its answers were not read, and none for 30 s";
        ApiError::new(Code::FailedPrecondition, ErrorReason::StreamIdle, text)
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.frames.is_closed()
    }

    /// Returns when the client has disconnected.
    pub(crate) async fn disconnected(&self) -> Disconnected {
        self.frames.closed().await;
        Disconnected
    }

    /// How long ago the last frame was sent.
    pub(crate) fn silence(&self) -> Duration {
        self.sent_at.elapsed()
    }

    /// Removes the waiting frames that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&F) -> bool) {
        self.waiting.retain(|queued| keep(&queued.frame));
        self.waiting_bytes = self.waiting.iter().map(QueuedFrame::bytes).sum();
    }

    /// Returns when a waiting frame was passed on, or the client has disconnected.
    pub(crate) async fn flow(&mut self) -> Result<(), Disconnected> {
        if self.waiting.is_empty() {
            return Err(self.disconnected().await);
        }
        drop(self.frames.reserve().await.map_err(|_| Disconnected)?);
        // This is the only sender, so the capacity is still free.
        self.pass_on();
        Ok(())
    }

    /// Sends the answers that are still due and the waiting frames, as long as the client reads. It ends at the first
    /// answer that is an error.
    pub(crate) async fn finish(
        &mut self,
        mut answers: impl Stream<Item = Result<ChargedFrame<F>, ApiError>> + Unpin,
    ) -> Result<(), ApiError> {
        while !self.is_disconnected() {
            let waits = !self.waiting.is_empty();
            tokio::select! {
                Some(answer) = answers.next() => self.answer(answer?),
                flowed = tokio::time::timeout(UNREAD, self.flow()), if waits => {
                    if flowed.is_err() {
                        let text = "the stream has ended, and its last answers were not read";
                        return Err(ApiError::new(Code::FailedPrecondition, ErrorReason::StreamIdle, text));
                    }
                }
                else => break,
            }
        }
        Ok(())
    }

    /// Whether the network has sent all frames.
    fn is_read(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.frames.load(Ordering::Relaxed) == 0
    }

    /// Ends the stream behind the frames that were passed on. If the client does not read those, its call is ended in
    /// time.
    pub(crate) fn end(self, result: Result<(), ApiError>) {
        if self.in_flight.frames.load(Ordering::Relaxed) > 0 && !self.is_disconnected() {
            tokio::spawn(end_unread(self.task.clone(), Arc::clone(&self.in_flight), self.unread.clone()));
        }
        if let Err(error) = result {
            // A client that has disconnected needs no answer.
            drop(self.end.send(error));
        }
    }

    fn put(&mut self, queued: QueuedFrame<F>) {
        self.sent_at = Instant::now();
        self.waiting_bytes += queued.bytes();
        self.waiting.push_back(queued);
        self.pass_on();
    }

    /// Passes on waiting frames while the network accepts them.
    fn pass_on(&mut self) {
        use mpsc::error::TrySendError::{Closed, Full};
        while let Some(queued) = self.waiting.pop_front() {
            let bytes = queued.bytes();
            // A frame is counted before it can be sent, so that the counts never fall below zero.
            self.in_flight.frames.fetch_add(1, Ordering::Relaxed);
            self.in_flight.bytes.fetch_add(bytes, Ordering::Relaxed);
            if let Err(Full(queued) | Closed(queued)) = self.frames.try_send(queued) {
                self.in_flight.frames.fetch_sub(1, Ordering::Relaxed);
                self.in_flight.bytes.fetch_sub(bytes, Ordering::Relaxed);
                return self.waiting.push_front(queued);
            }
            self.waiting_bytes -= bytes;
        }
    }
}

/// Ends the call once its client has read nothing for too long, unless the client reads all.
async fn end_unread(task: CallTask, in_flight: Arc<UnsentCounts>, unread: IntCounter) {
    let mut sent = task.sent();
    while tokio::time::timeout(UNREAD_PATIENCE, in_flight.ended.cancelled()).await.is_err() {
        if task.sent() == sent {
            unread.inc();
            return task.end();
        }
        sent = task.sent();
    }
}

impl<F> QueuedFrame<F> {
    fn bytes(&self) -> u64 {
        self.charge.as_ref().map_or(0, Charge::bytes)
    }
}

#[cfg(test)]
mod tests;

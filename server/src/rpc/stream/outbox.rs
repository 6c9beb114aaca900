//! The server's half of a stream. Frames wait here for a client that reads slowly, so that the stream's task does not:
//! it must still see its token expire, and the server drain.

use std::{
    collections::VecDeque,
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

/// Frames handed to the network; beyond, they wait in the outbox.
const MAX_FRAMES_OUT: usize = 4;
/// Frames that a client does not read; beyond, it is not listened to either.
const MAX_FRAMES_WAITING: usize = 64;
/// How long a client of a stream that ends may read nothing while answers wait for it.
const UNREAD: Duration = Duration::from_secs(5);

/// The client has gone away.
#[derive(Debug)]
pub(crate) struct Gone;

/// How much waits in an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxState {
    /// The network has sent all that was sent, but for a few frames.
    pub(crate) clear: bool,
    /// So little waits that the client is listened to.
    pub(crate) has_capacity: bool,
}

/// Where a stream's task puts its frames.
pub(crate) struct Outbox<F> {
    frames: mpsc::Sender<Charged<F>>,
    /// Frames that were handed to the network and that it has not sent.
    out: Arc<OnTheirWay>,
    /// When the leases end of what was delivered last.
    leased_until: Option<Instant>,
    waiting: VecDeque<Charged<F>>,
    /// What is charged for those that wait.
    waiting_bytes: u64,
    end: oneshot::Sender<ApiError>,
    sent_at: Instant,
    /// The stream's, which tells what the network has sent.
    task: CallTask,
    /// Where what waits is charged.
    account: Account,
    /// Counts calls that end because their client does not read.
    unread: IntCounter,
    /// How much that was, and since when.
    progress: (u64, Instant),
}

#[derive(Default)]
struct OnTheirWay {
    frames: AtomicUsize,
    /// What is charged for answers among them.
    bytes: AtomicU64,
    /// All of them are sent, and no more come; or the call has ended.
    over: CancellationToken,
}

/// A frame, and what it is charged until it is encoded.
struct Charged<F> {
    frame: F,
    charge: Option<Charge>,
}

/// An outbox, and what comes out of it: the frames, then the error it ended with, if any.
pub(crate) fn outbox<F: Send + 'static>(
    task: CallTask,
    accounts: &ConnectionAccounts,
) -> (Outbox<F>, impl Stream<Item = Result<F, Status>> + Send + 'static + use<F>) {
    let (frames, out) = mpsc::channel(MAX_FRAMES_OUT);
    let (end, ended) = oneshot::channel::<ApiError>();
    let ended = ended.map(|error| stream::iter(error.ok().map(|error| Err(error.into()))));
    let way = Arc::new(OnTheirWay::default());
    let (sent, over) = (Arc::clone(&way), way.over.clone().drop_guard());
    let out = ReceiverStream::new(out).map(move |charged: Charged<F>| {
        let _over = &over;
        sent.frames.fetch_sub(1, Ordering::Relaxed);
        sent.bytes.fetch_sub(charged.bytes(), Ordering::Relaxed);
        Ok(charged.frame)
    });
    let (waiting, now) = (VecDeque::new(), Instant::now());
    let progress = (0, now);
    let outbox = Outbox {
        frames,
        out: way,
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
        self.put(Charged { frame, charge: None });
    }

    /// The same of an answer, and what is charged for it.
    pub(crate) fn answer(&mut self, (frame, charge): (F, Charge)) {
        self.put(Charged { frame, charge: Some(charge) });
    }

    /// The same of deliveries, which may be left unread until their leases end.
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

    /// Whether the client leaves so much unread, or answers where others find no room for them, or deliveries whose leases have ended,
    /// and has read nothing for so long, that its call is to be ended. To be asked again and again.
    pub(crate) fn is_stuck(&mut self) -> bool {
        let sent = self.task.sent();
        let answers = self.waiting_bytes + self.out.bytes.load(Ordering::Relaxed);
        let in_the_way = || answers > 0 && !self.account.has_capacity(Wanted::Request);
        let too_late = || !self.is_read() && self.leased_until.is_some_and(|until| until <= Instant::now());
        let too_much = self.waiting_bytes >= UNREAD_ANSWER_BYTES || in_the_way() || too_late();
        if !too_much || sent != self.progress.0 {
            self.progress = (sent, Instant::now());
        }
        self.progress.1.elapsed() >= UNREAD_PATIENCE
    }

    /// Ends the call without another word: its client reads none.
    pub(crate) fn cut_off(&self) -> ApiError {
        self.unread.inc();
        self.task.end();
        let text = "the stream has ended: too many of its answers were not read, and none for 30 s";
        ApiError::new(Code::FailedPrecondition, ErrorReason::StreamIdle, text)
    }

    /// Whether the client has gone away.
    pub(crate) fn is_gone(&self) -> bool {
        self.frames.is_closed()
    }

    /// Returns when the client has gone away.
    pub(crate) async fn gone(&self) -> Gone {
        self.frames.closed().await;
        Gone
    }

    /// How long nothing was sent.
    pub(crate) fn silence(&self) -> Duration {
        self.sent_at.elapsed()
    }

    /// Keeps only some of what waits.
    pub(crate) fn retain(&mut self, keep: impl Fn(&F) -> bool) {
        self.waiting.retain(|charged| keep(&charged.frame));
        self.waiting_bytes = self.waiting.iter().map(Charged::bytes).sum();
    }

    /// Returns when something that waited has been passed on, or the client has gone away.
    pub(crate) async fn flow(&mut self) -> Result<(), Gone> {
        if self.waiting.is_empty() {
            return Err(self.gone().await);
        }
        drop(self.frames.reserve().await.map_err(|_| Gone)?);
        // This is the only sender, so the place is still free.
        self.pass();
        Ok(())
    }

    /// Sends the answers that are still due and what waits, as long as the client reads. The first answer that is an
    /// error ends it.
    pub(crate) async fn finish(
        &mut self,
        mut answers: impl Stream<Item = Result<(F, Charge), ApiError>> + Unpin,
    ) -> Result<(), ApiError> {
        while !self.is_gone() {
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

    fn is_read(&self) -> bool {
        self.waiting.is_empty() && self.out.frames.load(Ordering::Relaxed) == 0
    }

    /// Ends the stream, after the frames that the network has sent. Of a client that reads none of those, the call is ended in time.
    pub(crate) fn end(self, result: Result<(), ApiError>) {
        if self.out.frames.load(Ordering::Relaxed) > 0 && !self.is_gone() {
            tokio::spawn(end_unread(self.task.clone(), Arc::clone(&self.out), self.unread.clone()));
        }
        if let Err(error) = result {
            // A client that has gone away needs no answer.
            drop(self.end.send(error));
        }
    }

    fn put(&mut self, charged: Charged<F>) {
        self.sent_at = Instant::now();
        self.waiting_bytes += charged.bytes();
        self.waiting.push_back(charged);
        self.pass();
    }

    fn pass(&mut self) {
        use mpsc::error::TrySendError::{Closed, Full};
        while let Some(charged) = self.waiting.pop_front() {
            let bytes = charged.bytes();
            // Before it can be sent.
            self.out.frames.fetch_add(1, Ordering::Relaxed);
            self.out.bytes.fetch_add(bytes, Ordering::Relaxed);
            if let Err(Full(charged) | Closed(charged)) = self.frames.try_send(charged) {
                self.out.frames.fetch_sub(1, Ordering::Relaxed);
                self.out.bytes.fetch_sub(bytes, Ordering::Relaxed);
                return self.waiting.push_front(charged);
            }
            self.waiting_bytes -= bytes;
        }
    }
}

/// Ends the call once its client has read nothing for too long, unless it reads all.
async fn end_unread(task: CallTask, out: Arc<OnTheirWay>, unread: IntCounter) {
    let mut sent = task.sent();
    while tokio::time::timeout(UNREAD_PATIENCE, out.over.cancelled()).await.is_err() {
        if task.sent() == sent {
            unread.inc();
            return task.end();
        }
        sent = task.sent();
    }
}

impl<F> Charged<F> {
    fn bytes(&self) -> u64 {
        self.charge.as_ref().map_or(0, Charge::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Accounts, Counters};

    fn accounts() -> ConnectionAccounts {
        Accounts::new(Counters::for_tests()).open(None)
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_nobody_up_and_still_gets_the_end() {
        let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts());
        (0..100).for_each(|frame| outbox.send(frame));
        assert!(!outbox.state().clear && !outbox.state().has_capacity);
        outbox.retain(|frame| frame % 2 == 0);
        outbox.end(Err(ApiError::new(Code::Unauthenticated, ErrorReason::TokenExpired, "expired")));
        let received: Vec<_> = out.collect().await;
        let (last, frames) = received.split_last().unwrap();
        let frames: Vec<_> = frames.iter().map(|frame| *frame.as_ref().unwrap()).collect();
        assert_eq!(frames, (0..MAX_FRAMES_OUT as u32).collect::<Vec<_>>());
        assert_eq!(last.as_ref().unwrap_err().code(), Code::Unauthenticated);
    }

    #[tokio::test]
    async fn frames_come_in_order_and_a_clean_end_has_no_error() {
        let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts());
        let reading = tokio::spawn(out.map(Result::unwrap).collect::<Vec<_>>());
        (0..50).for_each(|frame| outbox.send(frame));
        outbox
            .finish(stream::iter((50..60).map(|frame| Ok((frame, accounts().requests.charge(1))))))
            .await
            .unwrap();
        outbox.end(Ok(()));
        assert_eq!(reading.await.unwrap(), (0..60).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_ended_ends_its_call_if_its_last_frames_are_not_read() {
        let task = CallTask::default();
        let (mut outbox, out) = outbox::<u32>(task.clone(), &accounts());
        outbox.send(1);
        outbox.end(Ok(()));
        tokio::time::sleep(UNREAD_PATIENCE / 2).await;
        assert!(!task.is_ended());
        tokio::time::sleep(UNREAD_PATIENCE).await;
        assert!(task.is_ended());
        drop(out);
        let read = CallTask::default();
        let (mut outbox, out) = super::outbox::<u32>(read.clone(), &accounts());
        outbox.send(1);
        outbox.end(Ok(()));
        assert_eq!(out.count().await, 1);
        tokio::time::sleep(UNREAD_PATIENCE * 3).await;
        assert!(!read.is_ended());
    }

    #[tokio::test]
    async fn a_client_that_has_gone_is_noticed() {
        let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts());
        (0..50).for_each(|frame| outbox.send(frame));
        drop(out);
        assert!(outbox.flow().await.is_err());
        outbox.finish(stream::pending::<Result<(u32, Charge), ApiError>>()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn much_that_is_not_read_stops_the_client_and_ends_it_after_a_while_without_progress() {
        let accounts = accounts();
        let account = &accounts.requests;
        let (mut outbox, out) = outbox::<u32>(CallTask::default(), &accounts);
        for frame in 0..=MAX_FRAMES_OUT as u32 {
            outbox.answer((frame, account.charge(100_000)));
        }
        assert!(outbox.state().has_capacity && !outbox.is_stuck());
        outbox.answer((9, account.charge(100_000)));
        assert!(!outbox.state().has_capacity && !outbox.is_stuck());
        outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
        assert!(outbox.is_stuck());
        // It reads again.
        outbox.progress.0 = 1;
        assert!(!outbox.is_stuck());
        // Little is too much where there is no room.
        outbox.retain(|frame| *frame == 9);
        outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
        assert!(outbox.state().has_capacity && !outbox.is_stuck());
        let full = account.charge(32 << 20);
        outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
        assert!(outbox.is_stuck());
        drop(full);
        // So are answers that the network does not take.
        outbox.retain(|_| false);
        assert!(outbox.state().clear && !outbox.is_stuck());
        let full = account.charge(32 << 20);
        outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
        assert!(outbox.is_stuck());
        drop(full);
        // Deliveries may wait until their leases end.
        outbox.deliver(10, Instant::now() + UNREAD_PATIENCE);
        outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
        assert!(!outbox.is_stuck());
        outbox.leased_until = Some(Instant::now());
        outbox.progress.1 = Instant::now() - UNREAD_PATIENCE;
        assert!(outbox.is_stuck());
        outbox.leased_until = None;
        let reading = tokio::spawn(out.map(Result::unwrap).collect::<Vec<_>>());
        outbox.finish(stream::iter([])).await.unwrap();
        assert!(outbox.state().has_capacity && !outbox.is_stuck());
        outbox.end(Ok(()));
        assert_eq!(reading.await.unwrap().len(), MAX_FRAMES_OUT + 1);
        assert_eq!(account.held(), 0, "what was charged is given back");
    }
}

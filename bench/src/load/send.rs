//! The sending half of a connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    AT_ONCE, Load,
    meter::{ConnectionMeter, LoadTally},
    pace::Schedule,
    payload::Payloads,
};
use crate::system::{Confirmation, Producer, Server};

/// State that all senders of a load share.
#[derive(Debug)]
pub struct Sending {
    load: Load,
    /// The origin of the moments in the payloads; an open loop's first message is due then.
    pub origin: Instant,
    /// Start and end of the time in which answers count.
    measured: (Instant, Instant),
    /// Stops the senders.
    pub stop: CancellationToken,
    numbers: AtomicU64,
    stored: AtomicU64,
    meters: Vec<ConnectionMeter>,
    /// Slots of messages that are not settled, if their number is bounded.
    pub unsettled: Option<Arc<Semaphore>>,
}

struct Sent {
    dues: Vec<Instant>,
    confirmation: Confirmation,
    _slots: OwnedSemaphorePermit,
}

impl Sending {
    /// State of a load that begins now.
    pub fn begin(load: Load, unsettled: Option<Arc<Semaphore>>) -> Result<Arc<Self>> {
        let origin = Instant::now();
        let begin = origin + load.warm_up;
        Ok(Arc::new(Self {
            load,
            origin,
            measured: (begin, begin + load.length),
            stop: CancellationToken::new(),
            numbers: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            meters: (0..load.connections).map(|_| ConnectionMeter::new()).collect::<Result<_>>()?,
            unsettled,
        }))
    }

    /// Starts a sender for each producer, and a task that waits for its answers.
    pub fn start(
        self: &Arc<Self>,
        producers: Vec<Box<dyn Producer>>,
        tasks: &mut JoinSet<Result<()>>,
    ) -> Result<()> {
        let schedules = Schedule::all(self.origin, self.load.rate, producers.len(), &self.stop)?;
        for (number, (producer, schedule)) in producers.into_iter().zip(schedules).enumerate() {
            let (sent, answers) = mpsc::unbounded_channel();
            tasks.spawn(send(Arc::clone(self), producer, schedule, sent));
            tasks.spawn(confirm(Arc::clone(self), number, answers));
        }
        Ok(())
    }

    /// Whether an answer at this moment counts.
    pub fn counts(&self, now: Instant) -> bool {
        self.measured.0 <= now && now < self.measured.1
    }

    /// Messages that the server confirmed as stored.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Counts and latencies so far.
    pub fn tally(&self) -> Result<LoadTally> {
        LoadTally::sum(&self.meters)
    }

    /// Reserves the numbers of at most `max` messages; none once the load's messages are used up.
    fn claim_numbers(&self, max: usize) -> std::ops::Range<u64> {
        let first = self.numbers.fetch_add(max as u64, Ordering::Relaxed).min(self.load.max_messages);
        first..(first + max as u64).min(self.load.max_messages)
    }
}

/// Opens the producers of a load.
pub async fn open(server: &dyn Server, queue: &str, load: &Load) -> Result<Vec<Box<dyn Producer>>> {
    let opening = (0..load.connections).map(|_| server.producer(queue, load.shape));
    // A few at a time: servers limit the handshakes of one address.
    stream::iter(opening).buffered(AT_ONCE).try_collect().await.context("producers")
}

async fn send(
    sending: Arc<Sending>,
    mut producer: Box<dyn Producer>,
    mut schedule: Schedule,
    sent: mpsc::UnboundedSender<Sent>,
) -> Result<()> {
    let shape = sending.load.shape;
    let window = Arc::new(Semaphore::new(shape.window));
    let mut payloads = Payloads::new(shape.payload_bytes, sending.origin);
    while !sending.stop.is_cancelled() {
        let count = tokio::select! {
            biased;
            () = sending.stop.cancelled() => break,
            count = schedule.wait(shape.batch) => count,
        };
        let slots = tokio::select! {
            biased;
            () = sending.stop.cancelled() => break,
            slots = acquire_slots(&sending, &window, count) => slots?,
        };
        let numbers = sending.claim_numbers(count);
        if numbers.is_empty() {
            break;
        }
        let (mut batch, mut dues) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in numbers {
            let due = schedule.next();
            batch.push(payloads.next(due, number));
            dues.push(due);
        }
        let confirmation = producer.publish(batch).await.context("a publish")?;
        if sent.send(Sent { dues, confirmation, _slots: slots }).is_err() {
            // The task that waits for answers has failed, and its error is reported.
            break;
        }
    }
    // The connection stays open until its answers are received.
    drop(sent);
    let all = u32::try_from(shape.window).unwrap_or(u32::MAX);
    let _ = window.acquire_many(all).await;
    Ok(())
}

async fn acquire_slots(
    sending: &Sending,
    window: &Arc<Semaphore>,
    count: usize,
) -> Result<OwnedSemaphorePermit> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let slots = Arc::clone(window).acquire_many_owned(count).await?;
    if let Some(unsettled) = &sending.unsettled {
        // Released when the messages are settled.
        unsettled.acquire_many(count).await?.forget();
    }
    Ok(slots)
}

async fn confirm(
    sending: Arc<Sending>,
    number: usize,
    mut sent: mpsc::UnboundedReceiver<Sent>,
) -> Result<()> {
    let meter = &sending.meters[number];
    while let Some(Sent { dues, confirmation, _slots: slots }) = sent.recv().await {
        confirmation.await.context("an answer to a publish")?;
        drop(slots);
        let now = Instant::now();
        sending.stored.fetch_add(dues.len() as u64, Ordering::AcqRel);
        if !sending.counts(now) {
            continue;
        }
        meter.count(now, dues.len() as u64);
        if sending.load.rate.is_some() {
            dues.iter().for_each(|due| meter.record_latency(*due, now, 1));
        } else if let Some(due) = dues.first() {
            meter.record_latency(*due, now, dues.len() as u64);
        }
    }
    Ok(())
}

//! The receiving half of a connection.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    AT_ONCE, Load,
    meter::{ConnectionMeter, LoadTally},
    payload::header,
    seen::Seen,
};
use crate::system::{Confirmation, Consumer, Server};

/// State that all receivers of a load share.
#[derive(Debug)]
pub struct Receiving {
    load: Load,
    /// The origin of the moments in the payloads.
    origin: Instant,
    /// Start and end of the measured time; `None`: all settlements count.
    measured: Option<(Instant, Instant)>,
    /// Whether a latency counts from the moment in the payload, or from the delivery to the settlement.
    end_to_end: bool,
    /// Stops the receivers.
    pub stop: CancellationToken,
    /// The messages that were received.
    pub seen: Seen,
    meters: Vec<ConnectionMeter>,
    /// Gets the slots of settled messages back.
    pub unsettled: Option<Arc<Semaphore>>,
}

struct Settling {
    received: Instant,
    count: usize,
    confirmation: Confirmation,
    _slots: OwnedSemaphorePermit,
}

impl Receiving {
    /// For messages that are in the queue already: latencies are those of settlements.
    pub fn backlog(load: Load, origin: Instant) -> Result<Arc<Self>> {
        Self::new(load, origin, None, None)
    }

    /// For messages that are published meanwhile: latencies count from the moment a message was due.
    pub fn end_to_end(load: Load, origin: Instant, unsettled: Option<Arc<Semaphore>>) -> Result<Arc<Self>> {
        let begin = origin + load.warm_up;
        Self::new(load, origin, Some((begin, begin + load.length)), unsettled)
    }

    fn new(
        load: Load,
        origin: Instant,
        measured: Option<(Instant, Instant)>,
        unsettled: Option<Arc<Semaphore>>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            load,
            origin,
            measured,
            end_to_end: measured.is_some(),
            stop: CancellationToken::new(),
            seen: Seen::default(),
            meters: (0..load.connections).map(|_| ConnectionMeter::new()).collect::<Result<_>>()?,
            unsettled,
        }))
    }

    /// Starts a receiver for each consumer, and a task that waits for its settlements.
    pub fn start(self: &Arc<Self>, consumers: Vec<Box<dyn Consumer>>, tasks: &mut JoinSet<Result<()>>) {
        for (number, consumer) in consumers.into_iter().enumerate() {
            let (settled, settlings) = mpsc::unbounded_channel();
            tasks.spawn(receive(Arc::clone(self), number, consumer, settled));
            tasks.spawn(confirm(Arc::clone(self), number, settlings));
        }
    }

    /// Counts and latencies so far.
    pub fn tally(&self) -> Result<LoadTally> {
        LoadTally::sum(&self.meters)
    }

    fn counts(&self, now: Instant) -> bool {
        self.measured.is_none_or(|(begin, end)| begin <= now && now < end)
    }

    fn record_deliveries(
        &self,
        meter: &ConnectionMeter,
        received: Instant,
        payloads: &[bytes::Bytes],
    ) -> Result<()> {
        let mut numbers = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let Some(header) = header(payload, self.origin) else {
                bail!("a message that was not published here")
            };
            if payload.len() != self.load.shape.payload_bytes {
                bail!("a message of {} bytes", payload.len());
            }
            numbers.push(header.number);
            if self.end_to_end && self.counts(received) {
                meter.record_latency(header.due, received, 1);
            }
        }
        if !self.load.keeps_backlog {
            self.seen.add(numbers);
        }
        Ok(())
    }
}

/// Opens the consumers of a load.
pub async fn open(server: &dyn Server, queue: &str, load: &Load) -> Result<Vec<Box<dyn Consumer>>> {
    let opening = (0..load.connections).map(|_| server.consumer(queue, load.shape));
    // A few at a time: servers limit the handshakes of one address.
    stream::iter(opening).buffered(AT_ONCE).try_collect().await.context("consumers")
}

async fn receive(
    receiving: Arc<Receiving>,
    number: usize,
    mut consumer: Box<dyn Consumer>,
    settled: mpsc::UnboundedSender<Settling>,
) -> Result<()> {
    let shape = receiving.load.shape;
    let meter = &receiving.meters[number];
    let window = Arc::new(Semaphore::new(shape.window));
    loop {
        let payloads = tokio::select! {
            biased;
            () = receiving.stop.cancelled() => break,
            payloads = consumer.next(shape.batch) => payloads.context("a delivery")?,
        };
        let received = Instant::now();
        receiving.record_deliveries(meter, received, &payloads)?;
        let count = payloads.len();
        let slots = Arc::clone(&window).acquire_many_owned(u32::try_from(count)?).await?;
        let confirmation = consumer.settle(count).await.context("a settlement")?;
        if settled.send(Settling { received, count, confirmation, _slots: slots }).is_err() {
            // The task that waits for answers has failed, and its error is reported.
            break;
        }
    }
    // The connection stays open until its settlements are answered.
    drop(settled);
    let _ = window.acquire_many(u32::try_from(shape.window)?).await;
    consumer.close().await
}

async fn confirm(
    receiving: Arc<Receiving>,
    number: usize,
    mut settlings: mpsc::UnboundedReceiver<Settling>,
) -> Result<()> {
    let meter = &receiving.meters[number];
    while let Some(Settling { received, count, confirmation, _slots: slots }) = settlings.recv().await {
        confirmation.await.context("an answer to a settlement")?;
        drop(slots);
        let now = Instant::now();
        if let Some(unsettled) = &receiving.unsettled {
            unsettled.add_permits(count);
        }
        if receiving.counts(now) {
            meter.count(now, count as u64);
            if !receiving.end_to_end {
                meter.record_latency(received, now, count as u64);
            }
        }
    }
    Ok(())
}

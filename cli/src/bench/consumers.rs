//! The streams that consume.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use posthouse_client::{Client, Consumer, Delivery, Event, Settling};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    meter::Step,
    payload::{Origin, origin},
    phase::Phase,
};
use crate::{
    exit::Exit,
    failure::{Failure, of_client, of_consume},
};

/// Confirmations that are handled in one pass.
const ANSWERS: usize = 512;
/// Most unsettled deliveries while the queue is cleared.
const CLEARING_CREDIT: u32 = 4096;

/// Whether messages are published while they are consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeMode {
    /// They were published before: latencies count from the delivery, and an empty queue ends the phase.
    Backlog,
    /// They are published meanwhile: latencies count from publishing.
    Pipeline,
}

/// The consumers, each on its own connection.
pub struct Consumers(Vec<Arc<ConsumerStream>>);

struct ConsumerStream {
    consumer: Consumer,
    /// A delivery beyond the end of a phase, for the next phase.
    spare: Mutex<Option<Delivery>>,
}

/// Settlements without an answer, each with the moment from which its latency counts.
type Settlings = mpsc::UnboundedSender<(Instant, Settling)>;

impl Consumers {
    /// Opens the consumers.
    pub async fn open(client: &Client, queue: &str, streams: u16, credit: u32) -> Result<Self, Failure> {
        let mut opened = Vec::new();
        for _ in 0..streams {
            let builder = client.consumer(queue).credit_messages(credit).credit_bytes(1 << 30);
            let consumer = builder.open().await.map_err(|error| of_client(&error))?;
            opened.push(Arc::new(ConsumerStream { consumer, spare: Mutex::default() }));
        }
        Ok(Self(opened))
    }

    /// Consumes and acknowledges the messages of a phase, in tasks that end when all are confirmed.
    pub fn start(&self, mode: ConsumeMode, phase: &Arc<Phase>, tasks: &mut JoinSet<Result<(), Failure>>) {
        for (number, stream) in self.0.iter().enumerate() {
            let (settled, settlings) = mpsc::unbounded_channel();
            tasks.spawn(consume(Arc::clone(stream), mode, Arc::clone(phase), number, settled));
            tasks.spawn(confirm(settlings, Arc::clone(phase), number));
        }
    }

    /// Closes the consumers, which releases unsettled deliveries.
    pub async fn close(self) -> Result<(), Failure> {
        for stream in self.0 {
            drop(stream.pop_spare());
            stream.consumer.close().await.map_err(|error| of_consume(&error))?;
        }
        Ok(())
    }
}

impl ConsumerStream {
    fn pop_spare(&self) -> Option<Delivery> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The next delivery of this phase; `None` at its end.
    async fn next(&self, mode: ConsumeMode, phase: &Phase) -> Result<Option<Delivery>, Failure> {
        if let Some(spare) = self.pop_spare() {
            return Ok(Some(spare));
        }
        loop {
            let next = self.consumer.next_event();
            tokio::pin!(next);
            let event = match next.as_mut().now_or_never() {
                Some(event) => event,
                None => tokio::select! {
                    biased;
                    () = phase.all_claimed.cancelled() => return Ok(None),
                    event = next => event,
                },
            };
            match event.map_err(|error| of_consume(&error))? {
                Some(Event::Delivery(delivery)) => return Ok(Some(delivery)),
                Some(Event::Idle { .. }) if mode == ConsumeMode::Backlog => {
                    phase.all_claimed.cancel();
                    return Ok(None);
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

async fn consume(
    stream: Arc<ConsumerStream>,
    mode: ConsumeMode,
    phase: Arc<Phase>,
    number: usize,
    settled: Settlings,
) -> Result<(), Failure> {
    let meter = phase.consumer_meter(number);
    while !phase.all_claimed.is_cancelled()
        && let Some(delivery) = stream.next(mode, &phase).await?
    {
        let received = Instant::now();
        let origin = origin(delivery.payload(), phase.run.id);
        if origin == Origin::Foreign && !phase.run.force {
            drop(delivery.release());
            return Err(foreign());
        }
        let from = match (mode, origin) {
            (ConsumeMode::Backlog, _) => received,
            (ConsumeMode::Pipeline, Origin::ThisRun(nanos)) => phase.run.moment(nanos),
            (ConsumeMode::Pipeline, _) => {
                drop(delivery.ack());
                continue;
            }
        };
        if !phase.claim() {
            *stream.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery);
            return Ok(());
        }
        meter.add_delivered_bytes(delivery.payload().len());
        if mode == ConsumeMode::Pipeline {
            meter.record(Step::Delivered, from);
        }
        if settled.send((from, delivery.ack())).is_err() {
            break;
        }
    }
    Ok(())
}

async fn confirm(
    mut settlings: mpsc::UnboundedReceiver<(Instant, Settling)>,
    phase: Arc<Phase>,
    number: usize,
) -> Result<(), Failure> {
    let meter = phase.consumer_meter(number);
    let mut some = Vec::with_capacity(ANSWERS);
    while settlings.recv_many(&mut some, ANSWERS).await > 0 {
        for (from, settling) in some.drain(..) {
            match settling.await {
                Ok(()) => meter.record(Step::Settled, from),
                Err(error) => meter.error(&error),
            }
            phase.release_slot();
        }
    }
    Ok(())
}

/// Acknowledges the remaining messages of a run, and fails at any other message.
pub async fn clear(client: &Client, queue: &str, run: u64) -> Result<(), Failure> {
    let builder = client.consumer(queue).credit_messages(CLEARING_CREDIT);
    let consumer = builder.open().await.map_err(|error| of_client(&error))?;
    loop {
        match consumer.next_event().await.map_err(|error| of_consume(&error))? {
            Some(Event::Delivery(delivery)) => match origin(delivery.payload(), run) {
                Origin::ThisRun(_) => drop(delivery.ack()),
                Origin::OtherRun | Origin::Foreign => {
                    drop(delivery.release());
                    consumer.close().await.map_err(|error| of_consume(&error))?;
                    return Err(foreign());
                }
            },
            Some(Event::Idle { .. }) | None => break,
            Some(_) => {}
        }
    }
    consumer.close().await.map_err(|error| of_consume(&error))
}

fn foreign() -> Failure {
    Failure::new(
        Exit::TempFail,
        "the queue holds messages that this command did not publish; they were released, not acknowledged",
        "use a queue that nobody else uses, or give --force to have everything acknowledged",
    )
}

//! The streams that publish.

use std::sync::Arc;

use posthouse_client::{Client, PublishAck, PublishError, Publisher};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{meter::Step, payload::Payloads, phase::Phase};
use crate::{
    args::Load,
    exit::Exit,
    failure::{Failure, of_client, of_publisher},
};

/// Bytes of a message in a publisher's buffer beside its payload.
const OVERHEAD: usize = 32;
/// Answers that are handled in one pass.
const ANSWERS: usize = 512;

/// The publishers, each on its own connection.
#[derive(Debug)]
pub struct Producers(Vec<Publisher>);

impl Producers {
    /// Opens the publishers.
    pub async fn open(client: &Client, load: &Load) -> Result<Self, Failure> {
        let message = load.size as usize + OVERHEAD;
        let window = (load.window as usize).div_ceil(load.streams.into());
        let mut publishers = Vec::new();
        for _ in 0..load.streams {
            let builder = client
                .publisher(&load.queue)
                .batch_messages(load.batch.into())
                // Batches are as large as asked for, up to the server's limit.
                .batch_bytes(message * usize::from(load.batch))
                .max_buffered_bytes(window * message)
                .max_in_flight_batches(window.div_ceil(load.batch.into()) + 1);
            publishers.push(builder.open().await.map_err(|error| of_client(&error))?);
        }
        let limit = publishers.first().map_or(0, Publisher::max_message_bytes);
        if load.size as usize > limit {
            let what =
                format!("--size is {}, and the queue takes payloads of {limit} bytes at most", load.size);
            return Err(Failure::new(
                Exit::BadData,
                what,
                "give a smaller --size, or raise the queue's limit",
            ));
        }
        Ok(Self(publishers))
    }

    /// Publishes the messages of a phase, in tasks that end when all are answered.
    pub fn start(&self, phase: &Arc<Phase>, tasks: &mut JoinSet<Result<(), Failure>>) {
        for (number, publisher) in self.0.iter().enumerate() {
            let (sent, acks) = mpsc::unbounded_channel();
            tasks.spawn(send(publisher.clone(), Arc::clone(phase), number, sent));
            tasks.spawn(answer(acks, Arc::clone(phase), number));
        }
    }

    /// Closes the publishers.
    pub async fn close(self) -> Result<(), Failure> {
        for publisher in self.0 {
            publisher.close().await.map_err(|error| of_publisher(&error))?;
        }
        Ok(())
    }
}

/// The publisher's buffer bounds the messages, and so the unbounded channel.
async fn send(
    publisher: Publisher,
    phase: Arc<Phase>,
    number: usize,
    sent: mpsc::UnboundedSender<(Instant, PublishAck)>,
) -> Result<(), Failure> {
    let mut payloads = Payloads::new(phase.run.size, phase.run.id);
    for message in phase.schedule.share(number as u64) {
        if let Some(window) = &phase.window
            && let Ok(slot) = window.acquire().await
        {
            slot.forget();
        }
        let due = phase.schedule.wait(message).await;
        let payload = payloads.next(phase.run.nanos(due));
        let ack = publisher.publish(payload).await.map_err(|error| of_publisher(&error))?;
        if sent.send((due, ack)).is_err() {
            // The task that waits for answers has failed, and its error is reported.
            break;
        }
    }
    Ok(())
}

async fn answer(
    mut acks: mpsc::UnboundedReceiver<(Instant, PublishAck)>,
    phase: Arc<Phase>,
    number: usize,
) -> Result<(), Failure> {
    let meter = phase.producer_meter(number);
    let mut some = Vec::with_capacity(ANSWERS);
    while acks.recv_many(&mut some, ANSWERS).await > 0 {
        for (due, ack) in some.drain(..) {
            match ack.await {
                Ok(_) => meter.record(Step::Stored, due),
                Err(error @ (PublishError::Refused(_) | PublishError::InDoubt(_))) => {
                    meter.error(&error);
                    // The message will not be delivered.
                    phase.claim();
                    phase.release_slot();
                }
                Err(error) => return Err(of_publisher(&error)),
            }
        }
    }
    Ok(())
}

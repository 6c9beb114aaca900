//! One department's queue, with its producer and consumers and what they saw.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use posthouse_client::{Client, Delivery, Event, NewMessage, QueueSettings, Queues};
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{
    Failed,
    applications::{Application, Form, open},
    measured::Measured,
    tally::{Figures, OfficeTally},
};

/// The producer publishes this many applications in each interval.
const BURST: usize = 20;
const EVERY: Duration = Duration::from_millis(10);
/// Applications that a consumer has leased at most.
const DESK: u32 = 100;
/// Delivery attempts before an application becomes a dead letter.
const ATTEMPTS: u32 = 3;
/// Longest wait until the queue is empty at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(45);

/// A department's queues and what was seen of them.
pub struct Office {
    /// Name in the table.
    pub name: String,
    queue: String,
    dead_letters: String,
    tally: Mutex<OfficeTally>,
}

impl Office {
    /// Creates the queue for applications and the one for dead letters.
    pub async fn open(tenant: &str, department: &str, queues: &Queues) -> Result<Self, Failed> {
        let queue = format!("{department}/applications");
        let dead_letters = format!("{department}/dead-letters");
        queues.create(&dead_letters, &QueueSettings::new()).await?;
        let settings = QueueSettings::new().max_attempts(ATTEMPTS).dead_letter_queue(&dead_letters);
        queues.create(&queue, &settings).await?;
        Ok(Self { name: format!("{tenant}/{department}"), queue, dead_letters, tally: Mutex::default() })
    }

    /// Name of the queue for its own tenant.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// The server's sums of the queue.
    pub async fn measured(&self, client: &Client) -> Result<Measured, Failed> {
        let stats = client.queues().get(&self.queue).await?.stats.ok_or("the server told no statistics")?;
        Ok(Measured::new(&stats))
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        self.tally().figures()
    }

    /// Publishes every application, and records each confirmation.
    pub async fn produce(
        self: std::sync::Arc<Self>,
        client: Client,
        all: Vec<Application>,
    ) -> Result<(), Failed> {
        let publisher = client.publisher(&self.queue).open().await?;
        let mut pace = interval(EVERY);
        let mut confirmations = JoinSet::new();
        for burst in all.chunks(BURST) {
            pace.tick().await;
            for application in burst {
                let ack = publisher.publish(NewMessage::new(application.line.clone())).await?;
                let number = application.number.clone();
                confirmations.spawn(async move { ack.await.map(|_| number) });
            }
            while let Some(confirmed) = confirmations.try_join_next() {
                self.tally().published(&confirmed??);
            }
        }
        while let Some(confirmed) = confirmations.join_next().await {
            self.tally().published(&confirmed??);
        }
        Ok(publisher.close().await?)
    }

    /// Processes applications until the task is aborted.
    pub async fn consume(self: std::sync::Arc<Self>, client: Client) -> Result<(), Failed> {
        let consumer = client.consumer(&self.queue).credit_messages(DESK).open().await?;
        let mut settling = JoinSet::new();
        loop {
            tokio::select! {
                delivery = consumer.next() => match delivery? {
                    Some(delivery) => {
                        let Form { number, complete } = self.record_delivery(&delivery)?;
                        if !complete {
                            self.tally().failed(&number);
                            drop(delivery.nack(Duration::ZERO));
                            continue;
                        }
                        let settled = delivery.ack();
                        // An unconfirmed settlement is not a failure: the application is delivered again.
                        settling.spawn(async move { settled.await.is_ok().then_some(number) });
                    }
                    None => return Ok(()),
                },
                Some(settled) = settling.join_next() => {
                    if let Some(number) = settled? {
                        self.tally().settled(&number);
                    }
                }
            }
        }
    }

    /// Consumes dead letters until the task is aborted.
    pub async fn supervise(self: std::sync::Arc<Self>, client: Client) -> Result<(), Failed> {
        let consumer = client.consumer(&self.dead_letters).open().await?;
        while let Some(delivery) = consumer.next().await? {
            let number = open(delivery.payload())?.number;
            let origin = delivery.dead_letter_origin().ok_or("a dead letter without an origin")?;
            if delivery.ack().await.is_ok() {
                self.tally().dead_lettered(&number, origin.attempts);
            }
        }
        Ok(())
    }

    /// The dead letters, each with its attempts.
    pub fn dead_letters(&self) -> Vec<(String, u32)> {
        self.tally().dead_letters()
    }

    /// Consumes until nothing is ready and nothing leased: whatever it receives was delivered before.
    pub async fn drain_leftovers(&self, client: &Client) -> Result<(), Failed> {
        let consumer = client.consumer(&self.queue).open().await?;
        let draining = async {
            while let Some(Event::Delivery(delivery)) = consumer.next_event().await? {
                let number = self.record_delivery(&delivery)?.number;
                if delivery.ack().await.is_ok() {
                    self.tally().settled(&number);
                }
            }
            Ok::<_, Failed>(())
        };
        let drained = timeout(DRAIN_TIMEOUT, draining).await;
        drained.map_err(|_| format!("{} does not become empty", self.name))??;
        Ok(consumer.close().await?)
    }

    fn record_delivery(&self, delivery: &Delivery) -> Result<Form, Failed> {
        let form = open(delivery.payload())?;
        self.tally().delivered(&form.number, delivery.message_id());
        Ok(form)
    }

    fn tally(&self) -> MutexGuard<'_, OfficeTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

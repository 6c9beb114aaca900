//! One department's queue: its producer, its consumers, and what they saw.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthouse_client::{Client, Delivery, Event, NewMessage};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::Failed;
use crate::applications::{Application, number};
use crate::tally::{Figures, Tally};

/// Citizens do not come all at once: so many, this often.
const BURST: usize = 20;
const EVERY: Duration = Duration::from_millis(10);
/// Applications on a clerk's desk.
const DESK: u32 = 100;
/// How long the last look waits for the queue to say that it is empty.
const LAST_LOOK: Duration = Duration::from_secs(45);

/// A queue and its story.
pub struct Office {
    /// As shown.
    pub name: String,
    queue: String,
    tally: Mutex<Tally>,
}

impl Office {
    /// An office whose queue exists.
    pub fn new(name: String, queue: String) -> Self {
        Self { name, queue, tally: Mutex::default() }
    }

    /// What was seen until now.
    pub fn figures(&self) -> Figures {
        self.tally().figures()
    }

    /// Publishes every application, and notes each confirmation.
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

    /// Works off what comes, until the task is ended.
    pub async fn consume(self: std::sync::Arc<Self>, client: Client) -> Result<(), Failed> {
        let consumer = client.consumer(&self.queue).credit_messages(DESK).open().await?;
        let mut settling = JoinSet::new();
        loop {
            tokio::select! {
                delivery = consumer.next() => match delivery? {
                    Some(delivery) => {
                        let number = self.note(&delivery)?;
                        let settled = delivery.ack();
                        // A settlement that is not confirmed is no failure: the application comes again.
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

    /// A last consumer, until the queue says that nothing is ready and nothing leased: what it gets came again.
    pub async fn look_for_leftovers(&self, client: &Client) -> Result<(), Failed> {
        let consumer = client.consumer(&self.queue).open().await?;
        let looking = async {
            while let Some(Event::Delivery(delivery)) = consumer.next_event().await? {
                let number = self.note(&delivery)?;
                if delivery.ack().await.is_ok() {
                    self.tally().settled(&number);
                }
            }
            Ok::<_, Failed>(())
        };
        let looked = timeout(LAST_LOOK, looking).await;
        looked.map_err(|_| format!("{} does not become empty", self.name))??;
        Ok(consumer.close().await?)
    }

    fn note(&self, delivery: &Delivery) -> Result<String, Failed> {
        let number = number(delivery.payload())?;
        self.tally().delivered(&number, delivery.message_id());
        Ok(number)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

use std::{sync::Arc, time::Duration};

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    consumer::ConsumerBuilder, context::Context, error::Error, messages::Messages, name,
    pool::WorkerPoolBuilder, publisher::PublisherBuilder, queues::Queues, unary::UnaryCalls,
};

/// A connection to a server, and the place from which publishers and consumers are opened. Clones share it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use posthouse_client::{Client, Context};
///
/// let client = Client::connect(Context::load("contexts/civil-affairs.toml")?).await?;
/// client.ping().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    calls: Arc<UnaryCalls>,
}

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
#[must_use = "call `connect`"]
pub struct ClientBuilder {
    context: Context,
    call_timeout: Option<Duration>,
}

impl ClientBuilder {
    /// How long one call may take, with all its attempts: to 1 h; 30 s if not set. It is told to the server, which
    /// does not work on a call that nobody waits for. Streams have no such deadline; see
    /// [`PublisherBuilder`] and [`ConsumerBuilder`].
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = Some(limit);
        self
    }

    /// How long one attempt to connect may take, with TLS: 100 ms to 5 minutes; 10 s if not set.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        let limit = limit.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self.context = self.context.with_connect_timeout(limit);
        self
    }

    /// Connects.
    pub async fn connect(self) -> Result<Client, Error> {
        Ok(Client { calls: Arc::new(UnaryCalls::connect(self.context, self.call_timeout).await?) })
    }
}

impl Client {
    /// Settings of a new client.
    pub fn builder(context: Context) -> ClientBuilder {
        ClientBuilder { context, call_timeout: None }
    }

    /// Connects. The server checks who is calling when the first call is made, so that only [`Client::ping`] or
    /// another call tells whether it accepts this client's certificate and token.
    pub async fn connect(context: Context) -> Result<Self, Error> {
        Self::builder(context).connect().await
    }

    /// Asks the server whether it serves.
    pub async fn ping(&self) -> Result<(), Error> {
        let answer = self.calls.call(|channel, token| async move {
            let request = token.request(HealthCheckRequest::default());
            HealthClient::new(channel).check(request).await
        });
        match answer.await?.status() {
            ServingStatus::Serving => Ok(()),
            _ => Err(Error::broken("the server says that it does not serve")),
        }
    }

    /// The full resource name of `DEPARTMENT/QUEUE`, of the context's tenant; a full name is only checked.
    pub fn queue_name(&self, name: &str) -> Result<String, Error> {
        Ok(name::queue(name, self.context().tenant())?)
    }

    /// Settings of a new publisher to a queue: `DEPARTMENT/QUEUE` or a full resource name.
    pub fn publisher(&self, queue: impl Into<String>) -> PublisherBuilder {
        PublisherBuilder::new(self.context().clone(), queue.into())
    }

    /// Settings of a new consumer of a queue: `DEPARTMENT/QUEUE` or a full resource name.
    pub fn consumer(&self, queue: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.context().clone(), queue.into())
    }

    /// Settings of a new pool of workers on a queue; [`ConsumerBuilder::worker_pool`] makes one with other settings of
    /// the consumer.
    pub fn worker_pool(&self, queue: impl Into<String>) -> WorkerPoolBuilder {
        self.consumer(queue).worker_pool()
    }

    /// The definitions of queues.
    pub fn queues(&self) -> Queues {
        Queues::new(Arc::clone(&self.calls))
    }

    /// Where messages are, and dead letters.
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.calls))
    }

    /// Where this client goes and who it is.
    pub fn context(&self) -> &Context {
        self.calls.context()
    }
}

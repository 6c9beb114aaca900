use std::{sync::Arc, time::Duration};

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    consumer::ConsumerBuilder, context::Context, error::Error, messages::Messages, name,
    pool::WorkerPoolBuilder, publisher::PublisherBuilder, queues::Queues, unary::UnaryCalls,
};

/// A connection to a server, from which publishers, consumers and worker pools are opened. Clones share the connection.
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
    /// The time limit of one call, with all its attempts: at most 1 h; 30 s if not set. The server knows the limit, and
    /// does not work on a call after it. Streams have no such limit; see [`PublisherBuilder`] and [`ConsumerBuilder`].
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = Some(limit);
        self
    }

    /// The time limit of one attempt to connect, with TLS: 100 ms to 5 minutes; 10 s if not set.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        let limit = limit.clamp(Duration::from_millis(100), Duration::from_secs(300));
        self.context = self.context.with_connect_timeout(limit);
        self
    }

    /// Connects. Fails if the token, certificates or key cannot be read, or the server cannot be reached.
    pub async fn connect(self) -> Result<Client, Error> {
        Ok(Client { calls: Arc::new(UnaryCalls::connect(self.context, self.call_timeout).await?) })
    }
}

impl Client {
    /// Returns the settings of a new client.
    pub fn builder(context: Context) -> ClientBuilder {
        ClientBuilder { context, call_timeout: None }
    }

    /// Connects with the default settings. The server checks the token at the first call only: use [`Client::ping`] to
    /// learn whether it accepts this client.
    pub async fn connect(context: Context) -> Result<Self, Error> {
        Self::builder(context).connect().await
    }

    /// Asks the server whether it serves. Fails if it does not, or does not accept the certificate or token.
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

    /// Returns the full resource name of `DEPARTMENT/QUEUE` in the context's tenant. A full resource name is checked
    /// and returned. Fails if the name is not valid, or no tenant is known.
    pub fn queue_name(&self, name: &str) -> Result<String, Error> {
        Ok(name::queue(name, self.context().tenant())?)
    }

    /// Returns the settings of a new publisher to a queue: `DEPARTMENT/QUEUE` or a full resource name.
    pub fn publisher(&self, queue: impl Into<String>) -> PublisherBuilder {
        PublisherBuilder::new(self.context().clone(), queue.into())
    }

    /// Returns the settings of a new consumer of a queue: `DEPARTMENT/QUEUE` or a full resource name.
    pub fn consumer(&self, queue: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.context().clone(), queue.into())
    }

    /// Returns the settings of a new pool of workers on a queue. To set its consumer too, use
    /// [`ConsumerBuilder::worker_pool`].
    pub fn worker_pool(&self, queue: impl Into<String>) -> WorkerPoolBuilder {
        self.consumer(queue).worker_pool()
    }

    /// Creates, reads, changes and deletes queues.
    pub fn queues(&self) -> Queues {
        Queues::new(Arc::clone(&self.calls))
    }

    /// Finds messages, and lists and redrives dead letters.
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.calls))
    }

    /// The server's address and this client's credentials.
    pub fn context(&self) -> &Context {
        self.calls.context()
    }
}

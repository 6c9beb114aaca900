use std::sync::Arc;

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    consumer::ConsumerBuilder,
    context::Context,
    error::{ConnectError, Error},
    messages::Messages,
    name,
    publisher::PublisherBuilder,
    queues::Queues,
    request::Requests,
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
    requests: Arc<Requests>,
}

impl Client {
    /// Connects. The server checks who is calling when the first call is made, so that only [`Client::ping`] or
    /// another call tells whether it accepts this client's certificate and token.
    pub async fn connect(context: Context) -> Result<Self, Error> {
        Ok(Self { requests: Arc::new(Requests::connect(context).await?) })
    }

    /// Asks the server whether it serves.
    pub async fn ping(&self) -> Result<(), Error> {
        let answer = self.requests.call(|channel, token| async move {
            let request = token.request(HealthCheckRequest::default());
            HealthClient::new(channel).check(request).await
        });
        match answer.await?.status() {
            ServingStatus::Serving => Ok(()),
            _ => Err(Error::Connect(ConnectError::Broken("the server says that it does not serve".into()))),
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

    /// The definitions of queues.
    pub fn queues(&self) -> Queues {
        Queues::new(Arc::clone(&self.requests))
    }

    /// Where messages are, and dead letters.
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.requests))
    }

    /// Where this client goes and who it is.
    pub fn context(&self) -> &Context {
        self.requests.context()
    }
}

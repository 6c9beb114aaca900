//! Creating, reading, changing and deleting queues.

mod queue;
mod settings;
mod stats;

use std::sync::Arc;

use posthouse_proto::v1::{self, queues_client::QueuesClient};
use prost_types::FieldMask;

pub use queue::Queue;
pub use settings::QueueSettings;
pub use stats::QueueStats;

use crate::{
    error::Error,
    name,
    unary::{UnaryCalls, request_id},
};

/// Creates, reads, changes and deletes queues. Names are `DEPARTMENT/QUEUE` or full resource names.
///
/// ```no_run
/// # async fn example(client: posthouse_client::Client) -> Result<(), posthouse_client::Error> {
/// use posthouse_client::QueueSettings;
///
/// let queues = client.queues();
/// queues.create("identity-cards/failed", &QueueSettings::new()).await?;
/// let settings = QueueSettings::new().max_attempts(5).dead_letter_queue("identity-cards/failed");
/// let queue = queues.create("identity-cards/applications", &settings).await?;
/// println!("{} has {} attempts", queue.name, queue.max_attempts);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queues {
    calls: Arc<UnaryCalls>,
}

impl Queues {
    pub(crate) fn new(calls: Arc<UnaryCalls>) -> Self {
        Self { calls }
    }

    /// Creates a queue. Fails with [`ErrorKind::AlreadyExists`](crate::ErrorKind) if it exists.
    pub async fn create(&self, name: &str, settings: &QueueSettings) -> Result<Queue, Error> {
        let request = v1::CreateQueueRequest {
            queue: Some(self.definition(name, settings)?),
            request_id: request_id(),
            validate_only: false,
        };
        let queue = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).create_queue(request).await }
        });
        Ok(queue.await?.into())
    }

    /// Returns a queue with its counts.
    pub async fn get(&self, name: &str) -> Result<Queue, Error> {
        let request = v1::GetQueueRequest { name: self.name(name)? };
        let queue = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).get_queue(request).await }
        });
        Ok(queue.await?.into())
    }

    /// Returns the queues of a department that the caller has a grant for, sorted by name and without counts. The
    /// department is `DEPARTMENT` or a full resource name.
    pub async fn list(&self, department: &str) -> Result<Vec<Queue>, Error> {
        let parent = name::department(department, self.calls.context().tenant())?;
        let mut request = v1::ListQueuesRequest { parent, page_size: 1000, page_token: String::new() };
        let mut queues = Vec::new();
        loop {
            let page = self.calls.call(|channel, token| {
                let request = token.request(request.clone());
                async move { QueuesClient::new(channel).list_queues(request).await }
            });
            let page = page.await?;
            queues.extend(page.queues.into_iter().map(Queue::from));
            if page.next_page_token.is_empty() {
                return Ok(queues);
            }
            if page.next_page_token == request.page_token {
                return Err(Error::Protocol("a list of queues does not end"));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes the values that the settings contain, and returns the changed queue.
    pub async fn update(&self, name: &str, settings: &QueueSettings) -> Result<Queue, Error> {
        let request = v1::UpdateQueueRequest {
            queue: Some(self.definition(name, settings)?),
            update_mask: Some(FieldMask { paths: settings.paths() }),
            request_id: request_id(),
            validate_only: false,
        };
        let queue = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).update_queue(request).await }
        });
        Ok(queue.await?.into())
    }

    /// Deletes a queue and all its messages. This cannot be undone.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteQueueRequest {
            name: self.name(name)?,
            etag: String::new(),
            request_id: request_id(),
            validate_only: false,
        };
        let deleted = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).delete_queue(request).await }
        });
        deleted.await.map(|_| ())
    }

    /// Removes all messages that were published before, leased ones too, and returns how many were not settled.
    pub async fn purge(&self, name: &str) -> Result<u64, Error> {
        let request =
            v1::PurgeQueueRequest { name: self.name(name)?, request_id: request_id(), validate_only: false };
        let purged = self.calls.call(|channel, token| {
            let request = token.request(request.clone());
            async move { QueuesClient::new(channel).purge_queue(request).await }
        });
        Ok(purged.await?.purged)
    }

    fn name(&self, name: &str) -> Result<String, Error> {
        Ok(name::queue(name, self.calls.context().tenant())?)
    }

    fn definition(&self, name: &str, settings: &QueueSettings) -> Result<v1::Queue, Error> {
        let target = settings.dead_letter_target().map(|target| self.name(target)).transpose()?;
        Ok(settings.to_wire(self.name(name)?, target.unwrap_or_default()))
    }
}

//! A running server, a caller with every right of a tenant, and the calls that most tests make.

use std::time::Duration;

use posthouse_proto::v1::{
    self, Delivery, NewMessage, SettleAction, SettleResult, Settlement, publish_result, settle_result,
};
use tonic::{Response, Status};

use super::{
    server::Server,
    site::{CIVIL, Credentials, Site},
    wire::Caller,
};

/// The duration of a lease that is to expire.
pub const SHORT: Duration = Duration::from_secs(1);
/// The duration of a lease that is not to expire.
pub const LONG: Duration = Duration::from_secs(600);

/// A server with one caller.
pub struct Scene {
    /// Its keys and folders.
    pub site: Site,
    /// The server's process.
    pub server: Server,
    /// A caller of the tenant [`CIVIL`].
    pub caller: Caller,
    /// Its certificate and token.
    pub credentials: Credentials,
}

impl Scene {
    /// Starts a server in a new folder.
    pub async fn start() -> Self {
        Self::on(Site::new()).await
    }

    /// Starts a server on a site.
    pub async fn on(site: Site) -> Self {
        let credentials = site.credentials(CIVIL);
        Self::with(site, credentials).await
    }

    /// Starts a server on a site, with a caller who has these credentials.
    pub async fn with(site: Site, credentials: Credentials) -> Self {
        let mut server = Server::launch(&site, &super::binaries::posthouse(), None);
        server.ready_for(&site, &credentials).await;
        let caller = Caller::connect(&site, &credentials).await;
        Self { site, server, caller, credentials }
    }

    /// Kills the server, starts it again, and connects again.
    pub async fn crash(&mut self) {
        self.server.kill();
        self.server = Server::start(&self.site).await;
        self.caller = Caller::connect(&self.site, &self.credentials).await;
    }

    /// A caller on the same connection with other rights.
    pub fn scoped(&self, scope: &str) -> Caller {
        let mut claims = self.site.claims(CIVIL, &self.credentials.certificate);
        scope.clone_into(&mut claims.scope);
        self.caller.with_token(Some(&self.site.mint(CIVIL, &claims)))
    }

    /// Creates a queue in the department `household-registry`, and returns its full name.
    pub async fn queue(&self, name: &str, settings: v1::SubscriptionSettings) -> String {
        let name = queue_name(name);
        let queue =
            v1::Queue { name: name.clone(), default_subscription: Some(settings), ..v1::Queue::default() };
        let create = v1::CreateQueueRequest { queue: Some(queue), ..v1::CreateQueueRequest::default() };
        self.caller.queues().create_queue(self.caller.request(create)).await.unwrap();
        name
    }

    /// Creates a queue with the default settings.
    pub async fn plain_queue(&self, name: &str) -> String {
        self.queue(name, v1::SubscriptionSettings::default()).await
    }

    /// Publishes texts, and returns their sequences.
    pub async fn publish(&self, queue: &str, texts: &[&str]) -> Vec<u64> {
        let messages = texts.iter().map(|text| message(text)).collect();
        let request =
            v1::PublishRequest { queue: queue.to_owned(), messages, ..v1::PublishRequest::default() };
        let answer = self.caller.publisher().publish(self.caller.request(request)).await.unwrap();
        let stored = |result: v1::PublishResult| match result.result {
            Some(publish_result::Result::Stored(stored)) => stored.sequence,
            other => panic!("not stored: {other:?}"),
        };
        answer.into_inner().results.into_iter().map(stored).collect()
    }

    /// Receives up to `max` messages, waiting for the first.
    pub async fn receive(&self, queue: &str, max: u32, lease: Duration) -> Vec<Delivery> {
        self.receive_within(queue, max, lease, Duration::from_secs(20)).await
    }

    /// Receives the messages that are there now.
    pub async fn receive_now(&self, queue: &str, max: u32) -> Vec<Delivery> {
        self.receive_within(queue, max, LONG, Duration::ZERO).await
    }

    /// Receives one message, which must arrive.
    pub async fn receive_one(&self, queue: &str, lease: Duration) -> Delivery {
        let mut deliveries = self.receive(queue, 10, lease).await;
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries.remove(0)
    }

    async fn receive_within(&self, queue: &str, max: u32, lease: Duration, wait: Duration) -> Vec<Delivery> {
        let request = v1::ReceiveRequest {
            queue: queue.to_owned(),
            max_messages: max,
            wait: wire(wait),
            lease_duration: wire(lease),
            ..v1::ReceiveRequest::default()
        };
        let answer = self.caller.consumer().receive(self.caller.request(request)).await.unwrap();
        answer.into_inner().deliveries
    }

    /// Settles one delivery.
    pub async fn settle(&self, queue: &str, settlement: Settlement) -> settle_result::Result {
        let mut results = self.settle_all(queue, vec![settlement]).await.unwrap().into_inner().results;
        assert_eq!(results.len(), 1);
        results.remove(0).result.unwrap()
    }

    /// Settles many deliveries.
    pub async fn settle_all(
        &self,
        queue: &str,
        settlements: Vec<Settlement>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        let request =
            v1::SettleRequest { queue: queue.to_owned(), settlements, ..v1::SettleRequest::default() };
        self.caller.consumer().settle(self.caller.request(request)).await
    }

    /// Settles one delivery, which must succeed.
    pub async fn settled(&self, queue: &str, settlement: Settlement) {
        let action = settlement.action;
        match self.settle(queue, settlement).await {
            settle_result::Result::Settled(settled) => assert_eq!(settled.action, action),
            other => panic!("not settled: {other:?}"),
        }
    }

    /// Publishes a text and dead-letters it at its first delivery; returns its id.
    pub async fn fail(&self, queue: &str, text: &str) -> String {
        self.publish(queue, &[text]).await;
        let delivery = self.receive_one(queue, LONG).await;
        self.settled(queue, settlement(&delivery, SettleAction::DeadLetter)).await;
        delivery.message.unwrap().id
    }

    /// The state of a message.
    pub async fn find(&self, message_id: &str) -> v1::MessageStatus {
        let request =
            v1::FindMessageRequest { message_id: message_id.to_owned(), ..v1::FindMessageRequest::default() };
        self.caller.messages().find_message(self.caller.request(request)).await.unwrap().into_inner()
    }

    /// All dead letters of a queue, listed in pages of two.
    pub async fn dead_letters(&self, queue: &str) -> Vec<v1::MessageStatus> {
        let mut request = v1::ListDeadLettersRequest {
            queue: queue.to_owned(),
            page_size: 2,
            ..v1::ListDeadLettersRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let asked = self.caller.request(request.clone());
            let page = self.caller.messages().list_dead_letters(asked).await.unwrap().into_inner();
            assert!(page.dead_letters.len() <= 2);
            found.extend(page.dead_letters);
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The counts of a queue.
    pub async fn stats(&self, queue: &str) -> v1::QueueStats {
        let request = self.caller.request(v1::GetQueueRequest { name: queue.to_owned() });
        self.caller.queues().get_queue(request).await.unwrap().into_inner().stats.unwrap()
    }
}

/// The full name of a queue of the department `household-registry`.
pub fn queue_name(name: &str) -> String {
    format!("tenants/{CIVIL}/departments/household-registry/queues/{name}")
}

/// A message with a text and an attribute.
pub fn message(text: &str) -> NewMessage {
    NewMessage {
        payload: text.as_bytes().to_vec().into(),
        attributes: [("kind".to_owned(), format!("about {text}"))].into(),
    }
}

/// A settlement of a delivery.
pub fn settlement(delivery: &Delivery, action: SettleAction) -> Settlement {
    Settlement { token: delivery.token.clone(), action: action.into(), delay: None }
}

/// The text of a delivery.
pub fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.as_ref().unwrap().payload.to_vec()).unwrap()
}

/// The refusal in a settlement's result.
#[track_caller]
pub fn refused(result: &settle_result::Result) -> super::refusal::Refusal {
    match result {
        settle_result::Result::Error(status) => status.into(),
        other => panic!("not refused: {other:?}"),
    }
}

/// The one result in an answer to a settlement.
pub fn only(results: Vec<SettleResult>) -> settle_result::Result {
    assert_eq!(results.len(), 1, "{results:?}");
    results.into_iter().next().and_then(|result| result.result).unwrap()
}

/// A duration in its form on the wire.
pub fn wire(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

/// When the server began a lease of that duration, by its own clock, in milliseconds.
pub fn granted(delivery: &Delivery, lease: Duration) -> i64 {
    let deadline = delivery.lease_deadline.unwrap();
    deadline.seconds * 1000 + i64::from(deadline.nanos) / 1_000_000
        - i64::try_from(lease.as_millis()).unwrap()
}

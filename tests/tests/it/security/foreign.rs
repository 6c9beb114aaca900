//! A queue of another tenant looks the same whether or not it exists: the same bytes, from every method.

use posthouse_proto::v1;
use posthouse_tests::harness::{
    refusal::Refusal,
    scene::{Scene, message},
    site::TAXATION,
    stream::{Stream, open},
    wire::Caller,
};
use tonic::{Code, Status};

/// Both names have the same length, so that no size gives it away.
const EXISTING: &str = "there";
const MISSING: &str = "never";

#[tokio::test(flavor = "multi_thread")]
async fn existing_and_missing_look_the_same() {
    let scene = Scene::start().await;
    scene.plain_queue(EXISTING).await;
    let stranger = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    let department = "tenants/civil-affairs/departments/household-registry/queues/";
    let existing = all(&stranger, &format!("{department}{EXISTING}")).await;
    let missing = all(&stranger, &format!("{department}{MISSING}")).await;
    // Nor does a department or a tenant give it away.
    let department = "tenants/civil-affairs/departments/household-registrx/queues/";
    let nowhere = all(&stranger, &format!("{department}{MISSING}")).await;
    let nobodys = all(&stranger, "tenants/civil-affairz/departments/household-registry/queues/never").await;
    assert_eq!(existing.len(), 14);
    for (method, refusal) in &existing {
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::PermissionDenied, "GRANT_MISSING"),
            "{method}"
        );
    }
    assert_eq!(existing, missing);
    assert_eq!(existing, nowhere);
    assert_eq!(existing, nobodys);
}

/// The answer of every method that names a queue.
async fn all(caller: &Caller, queue: &str) -> Vec<(&'static str, Refusal)> {
    let mut found = Vec::new();
    let mut add = |method, status: Status| found.push((method, Refusal::from(&status)));
    let name = queue.to_owned();
    let mut queues = caller.queues();
    let request = v1::GetQueueRequest { name: name.clone() };
    add("GetQueue", queues.get_queue(caller.request(request)).await.unwrap_err());
    let definition = Some(v1::Queue { name: name.clone(), ..v1::Queue::default() });
    let request = v1::CreateQueueRequest { queue: definition.clone(), ..Default::default() };
    add("CreateQueue", queues.create_queue(caller.request(request)).await.unwrap_err());
    let request = v1::UpdateQueueRequest { queue: definition, ..Default::default() };
    add("UpdateQueue", queues.update_queue(caller.request(request)).await.unwrap_err());
    let request = v1::DeleteQueueRequest { name: name.clone(), ..Default::default() };
    add("DeleteQueue", queues.delete_queue(caller.request(request)).await.unwrap_err());
    let request = v1::PurgeQueueRequest { name: name.clone(), ..Default::default() };
    add("PurgeQueue", queues.purge_queue(caller.request(request)).await.unwrap_err());
    let (parent, _) = queue.split_once("/queues/").unwrap();
    let request = v1::ListQueuesRequest { parent: parent.to_owned(), ..Default::default() };
    add("ListQueues", queues.list_queues(caller.request(request)).await.unwrap_err());

    let mut messages = caller.messages();
    let request = v1::ListDeadLettersRequest { queue: name.clone(), ..Default::default() };
    add("ListDeadLetters", messages.list_dead_letters(caller.request(request)).await.unwrap_err());
    let request = v1::RedriveDeadLettersRequest { queue: name.clone(), ..Default::default() };
    add("RedriveDeadLetters", messages.redrive_dead_letters(caller.request(request)).await.unwrap_err());

    let mut publisher = caller.publisher();
    let messages = vec![message("a")];
    let request = v1::PublishRequest { queue: name.clone(), messages, ..Default::default() };
    add("Publish", publisher.publish(caller.request(request)).await.unwrap_err());
    add("PublishStream", publish_stream(caller, name.clone()).await);

    let mut consumer = caller.consumer();
    let request = v1::ReceiveRequest { queue: name.clone(), max_messages: 1, ..Default::default() };
    add("Receive", consumer.receive(caller.request(request)).await.unwrap_err());
    let settlements = vec![v1::Settlement { token: vec![1; 20].into(), action: 1, delay: None }];
    let request = v1::SettleRequest { queue: name.clone(), settlements, ..Default::default() };
    add("Settle", consumer.settle(caller.request(request)).await.unwrap_err());
    let tokens = vec![vec![1; 20].into()];
    let lease_duration = posthouse_tests::harness::scene::wire(posthouse_tests::harness::scene::LONG);
    let request =
        v1::ExtendLeasesRequest { queue: name.clone(), tokens, lease_duration, ..Default::default() };
    add("ExtendLeases", consumer.extend_leases(caller.request(request)).await.unwrap_err());
    add("Consume", Stream::try_open(caller, open(queue, [1; 16], 1)).await.err().unwrap());
    found
}

async fn publish_stream(caller: &Caller, queue: String) -> Status {
    let open =
        v1::publish_stream_request::Open { protocol_version: 1, queue, producer: None, ..Default::default() };
    let frame = Some(v1::publish_stream_request::Frame::Open(open));
    let frames = tokio_stream::iter([v1::PublishStreamRequest { frame }]);
    match caller.publisher().publish_stream(caller.request(frames)).await {
        Err(status) => status,
        Ok(answers) => answers.into_inner().message().await.unwrap_err(),
    }
}

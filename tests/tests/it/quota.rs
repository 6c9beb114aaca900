//! What one tenant may use; and consuming is never refused.

use posthouse_proto::v1::{
    self, CreateQueueRequest, DeleteQueueRequest, NewMessage, PublishRequest, SettleAction,
    UpdateQueueRequest,
};
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, value},
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, queue_name, settlement},
    site::{CIVIL, Site, TAXATION},
    stream::{Stream, open},
    wire::Caller,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A server with these caps for the tenant.
async fn capped(caps: &str) -> Scene {
    let site = Site::new();
    let name = format!("name = \"{CIVIL}\"\n");
    site.configure(&[(&name, &format!("{name}{caps}\n"))]);
    Scene::on(site).await
}

async fn publish(scene: &Scene, queue: &str, bytes: usize) -> Result<v1::PublishResponse, Status> {
    let messages = vec![NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() }];
    let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
    let answer = scene.caller.publisher().publish(scene.caller.request(request)).await;
    answer.map(tonic::Response::into_inner)
}

async fn create(caller: &Caller, name: &str, max_message_bytes: u32) -> Result<v1::Queue, Status> {
    let queue = v1::Queue { name: name.to_owned(), max_message_bytes, ..v1::Queue::default() };
    let request = CreateQueueRequest { queue: Some(queue), ..CreateQueueRequest::default() };
    caller.queues().create_queue(caller.request(request)).await.map(tonic::Response::into_inner)
}

/// The refusal names the cap, its limit, and its tenant.
#[track_caller]
fn assert_cap<T: std::fmt::Debug>(answer: Result<T, Status>, cap: &str, limit: u64) {
    let status = answer.as_ref().expect_err("a cap was passed").clone();
    assert_refused(answer, Code::ResourceExhausted, "LIMIT_REACHED");
    let violations = status.get_details_quota_failure().unwrap().violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0].subject, format!("tenants/{CIVIL}"));
    let text = &violations[0].description;
    assert!(text.starts_with(&format!("{cap} is {limit} and ")) && text.contains("ask "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_stores_too_much_is_refused_until_it_has_consumed() {
    const CAP: u64 = 16 << 20;
    let mut scene = capped(&format!("max_stored_bytes = {CAP}")).await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..15 {
        publish(&scene, &queue, 1 << 20).await.unwrap();
    }
    assert_cap(publish(&scene, &queue, 1 << 20).await, "max_stored_bytes", CAP);
    // The stored bytes are known after a restart too.
    scene.crash().await;
    assert_cap(publish(&scene, &queue, 1 << 20).await, "max_stored_bytes", CAP);
    for _ in 0..8 {
        let delivery = scene.receive(&queue, 1, LONG).await.remove(0);
        scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    }
    eventually("room after consuming", async || publish(&scene, &queue, 1 << 20).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_queues() {
    let scene = capped("max_queues = 2").await;
    for name in ["a", "b"] {
        create(&scene.caller, &queue_name(name), 0).await.unwrap();
    }
    assert_cap(create(&scene.caller, &queue_name("c"), 0).await, "max_queues", 2);
    let again = create(&scene.caller, &queue_name("a"), 0).await;
    assert_refused(again, Code::AlreadyExists, "QUEUE_ALREADY_EXISTS");
    let other = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    create(&other, &format!("tenants/{TAXATION}/departments/returns/queues/c"), 0).await.unwrap();
    let delete = DeleteQueueRequest { name: queue_name("a"), ..DeleteQueueRequest::default() };
    scene.caller.queues().delete_queue(scene.caller.request(delete)).await.unwrap();
    create(&scene.caller, &queue_name("c"), 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_streams() {
    let scene = capped("max_streams = 2").await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let mut first = Stream::open(&scene.caller, open(&queue, [1; 16], 10)).await;
    let delivery = first.deliveries(1).await.remove(0);
    let _second = Stream::open(&scene.caller, open(&queue, [2; 16], 0)).await;
    assert_cap(Stream::try_open(&scene.caller, open(&queue, [3; 16], 0)).await.map(drop), "max_streams", 2);
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    drop(first);
    eventually("a stream slot", async || {
        Stream::try_open(&scene.caller, open(&queue, [3; 16], 0)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_messages_have_a_size() {
    let scene = capped("max_message_bytes = 100000").await;
    let (queue, other) = (queue_name("q"), queue_name("other"));
    assert_cap(create(&scene.caller, &other, 100_001).await, "max_message_bytes", 100_000);
    let made = create(&scene.caller, &queue, 0).await.unwrap();
    assert_eq!(made.max_message_bytes, 100_000);
    let wanted = v1::Queue { name: queue.clone(), max_message_bytes: 200_000, ..v1::Queue::default() };
    let update = UpdateQueueRequest {
        queue: Some(wanted),
        update_mask: Some(prost_types::FieldMask { paths: vec!["max_message_bytes".to_owned()] }),
        ..UpdateQueueRequest::default()
    };
    let updated = scene.caller.queues().update_queue(scene.caller.request(update)).await;
    assert_cap(updated.map(drop), "max_message_bytes", 100_000);
    publish(&scene, &queue, 100_000).await.unwrap();
    let mut results = publish(&scene, &queue, 100_001).await.unwrap().results;
    let Some(v1::publish_result::Result::Error(status)) = results.remove(0).result else {
        panic!("a message over the limit was stored");
    };
    let refusal = Refusal::from(&status);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "MESSAGE_TOO_LARGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_makes_so_many_calls_in_a_second() {
    let scene = capped("max_calls_per_second = 20").await;
    let queue = eventually("a queue", async || {
        create(&scene.caller, &queue_name("q"), 0).await.ok().map(|queue| queue.name)
    })
    .await;
    let refused = async || loop {
        if let Err(refused) = publish(&scene, &queue, 1).await {
            return refused;
        }
    };
    assert_cap(Err::<(), _>(refused().await), "max_calls_per_second", 20);
    let retry = refused().await.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(retry <= std::time::Duration::from_secs(1), "{retry:?}");
    // Calls that free capacity are accepted, and those of other tenants are not affected.
    for _ in 0..40 {
        scene.settle_all(&queue, Vec::new()).await.map(drop).or_else(not_limited).unwrap();
    }
    let other = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    create(&other, &format!("tenants/{TAXATION}/departments/returns/queues/c"), 0).await.unwrap();
    // The limit is over after a while.
    eventually("a call", async || publish(&scene, &queue, 1).await.ok()).await;
    let metrics = scrape(scene.site.management()).await;
    assert!(value(&metrics, "posthouse_calls_limited_total") >= 2.0, "{metrics}");
}

/// An empty settlement may be refused for another reason.
fn not_limited(refused: Status) -> Result<(), Status> {
    if refused.code() == Code::InvalidArgument { Ok(()) } else { Err(refused) }
}

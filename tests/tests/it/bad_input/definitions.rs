//! Definitions that no queue may have, and ids and tokens that were never issued.

use std::collections::BTreeSet;

use posthouse_proto::v1::{self, Queue, SettleAction, SubscriptionSettings};
use posthouse_tests::harness::{
    eventually,
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, queue_name, settlement},
};
use prost_types::{Duration, FieldMask};
use tonic::{Code, Status};

use super::{assert_says, assert_serves};

async fn create(scene: &Scene, queue: Queue, request_id: &str) -> Result<Queue, Status> {
    let request_id = request_id.to_owned();
    let request = v1::CreateQueueRequest { queue: Some(queue), request_id, validate_only: false };
    Ok(scene.caller.queues().create_queue(scene.caller.request(request)).await?.into_inner())
}

async fn update(scene: &Scene, queue: Queue, paths: &[&str]) -> Result<Queue, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = v1::UpdateQueueRequest {
        queue: Some(queue),
        update_mask: Some(FieldMask { paths }),
        ..v1::UpdateQueueRequest::default()
    };
    Ok(scene.caller.queues().update_queue(scene.caller.request(request)).await?.into_inner())
}

async fn get(scene: &Scene, name: &str) -> Queue {
    let request = v1::GetQueueRequest { name: name.to_owned() };
    let queue = scene.caller.queues().get_queue(scene.caller.request(request)).await.unwrap().into_inner();
    Queue { stats: None, ..queue }
}

fn named(name: &str) -> Queue {
    Queue { name: queue_name(name), ..Queue::default() }
}

fn with(name: &str, settings: SubscriptionSettings) -> Queue {
    Queue { default_subscription: Some(settings), ..named(name) }
}

fn dead_letters(name: &str, target: &str) -> Queue {
    let dead_letter_queue = target.to_owned();
    with(name, SubscriptionSettings { dead_letter_queue, ..SubscriptionSettings::default() })
}

#[track_caller]
fn assert_settings<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) -> Refusal {
    let refusal = assert_refused(answer, Code::InvalidArgument, "SETTINGS_INVALID");
    assert_eq!(refusal.fields(), [field], "{refusal:?}");
    refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_have_limits_when_made_and_when_changed() {
    let scene = Scene::start().await;
    scene.plain_queue("there").await;
    let before = get(&scene, &queue_name("there")).await;
    let lease = |seconds, nanos| SubscriptionSettings {
        lease_duration: Some(Duration { seconds, nanos }),
        ..SubscriptionSettings::default()
    };
    let attempts = |max_attempts| SubscriptionSettings { max_attempts, ..SubscriptionSettings::default() };
    let size = |max_message_bytes| Queue { max_message_bytes, ..Queue::default() };
    let settings = |settings| Queue { default_subscription: Some(settings), ..Queue::default() };
    for (queue, field, limit) in [
        (size(4 * (1 << 20) - (64 << 10) + 1), "max_message_bytes", "4128768"),
        (size(u32::MAX), "max_message_bytes", "4128768"),
        (settings(attempts(1_001)), "default_subscription.max_attempts", "1000"),
        (settings(attempts(u32::MAX)), "default_subscription.max_attempts", "1000"),
        (settings(lease(0, 0)), "default_subscription.lease_duration", "43200000"),
        (settings(lease(0, 999_999_999)), "default_subscription.lease_duration", "43200000"),
        (settings(lease(-1, 0)), "default_subscription.lease_duration", "43200000"),
        (settings(lease(12 * 3600, 1_000_000)), "default_subscription.lease_duration", "43200000"),
        (settings(lease(1, i32::MAX)), "default_subscription.lease_duration", "43200000"),
    ] {
        let queue = |name| Queue { name: queue_name(name), ..queue.clone() };
        let made = assert_settings(create(&scene, queue("new"), "").await, field);
        let changed = assert_settings(update(&scene, queue("there"), &[field]).await, field);
        assert_eq!((made.fact("limit"), changed.fact("limit")), (Some(limit), Some(limit)));
    }
    assert_eq!(get(&scene, &queue_name("there")).await, before);
    create(&scene, named("new"), "").await.unwrap();
    assert_refused(create(&scene, named("new"), "").await, Code::AlreadyExists, "QUEUE_ALREADY_EXISTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_is_another_of_the_department_without_one_of_its_own() {
    const FIELD: &str = "default_subscription.dead_letter_queue";
    let scene = Scene::start().await;
    let itself = create(&scene, dead_letters("q", &queue_name("q")), "").await;
    assert_settings(itself, FIELD);
    for elsewhere in [
        "tenants/civil-affairs/departments/identity-cards/queues/letters",
        "tenants/taxation/departments/household-registry/queues/letters",
    ] {
        assert_settings(create(&scene, dead_letters("q", elsewhere), "").await, FIELD);
    }
    for name in ["letters", "../letters", &queue_name("L\u{435}tters"), &queue_name(&"l".repeat(64 << 10))] {
        let refusal = create(&scene, dead_letters("q", name), "").await;
        let refusal = assert_refused(refusal, Code::InvalidArgument, "NAME_INVALID");
        assert_eq!(refusal.fields(), [FIELD]);
        assert!(refusal.message.len() < 300 && refusal.message.is_ascii(), "{refusal:?}");
    }
    // A chain of dead-letter queues, begun at either end.
    create(&scene, dead_letters("q", &queue_name("letters")), "").await.unwrap();
    let chain = create(&scene, dead_letters("letters", &queue_name("more-letters")), "").await;
    assert_settings(chain, FIELD);
    let chain = create(&scene, dead_letters("first", &queue_name("q")), "").await;
    assert_settings(chain, FIELD);
    create(&scene, named("letters"), "").await.unwrap();
    let chain = update(&scene, dead_letters("letters", &queue_name("q")), &[FIELD]).await;
    assert_settings(chain, FIELD);
    let itself = update(&scene, dead_letters("q", &queue_name("q")), &[FIELD]).await;
    assert_settings(itself, FIELD);
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_waits_for_a_queue_that_is_missing() {
    let scene = Scene::start().await;
    let name = queue_name("q");
    create(&scene, dead_letters("q", &queue_name("letters")), "").await.unwrap();
    scene.publish(&name, &["a", "b"]).await;
    let hopeless = scene.receive(&name, 1, LONG).await.remove(0);
    scene.settled(&name, settlement(&hopeless, SettleAction::DeadLetter)).await;
    let stats = scene.stats(&name).await;
    assert_eq!((stats.ready, stats.in_flight, stats.waiting, stats.parked), (1, 0, 1, 0));
    let next = scene.receive_one(&name, LONG).await;
    scene.settled(&name, settlement(&next, SettleAction::Ack)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_names_known_fields_of_the_newest_state() {
    let scene = Scene::start().await;
    let name = scene.plain_queue("q").await;
    let before = get(&scene, &name).await;
    for paths in [&[][..], &["*"], &["colour"], &["max_message_bytes", "name"], &["stats"], &[""], &["\n"]] {
        let refusal = update(&scene, named("q"), paths).await;
        let refusal = assert_refused(refusal, Code::InvalidArgument, "REQUEST_INVALID");
        assert_eq!(refusal.fields(), ["update_mask"], "{paths:?}");
    }
    let request = v1::UpdateQueueRequest { queue: Some(named("q")), ..v1::UpdateQueueRequest::default() };
    let answer = scene.caller.queues().update_queue(scene.caller.request(request)).await;
    assert_refused(answer, Code::InvalidArgument, "REQUEST_INVALID");
    let smaller = |etag: &str| Queue { max_message_bytes: 100, etag: etag.to_owned(), ..named("q") };
    for etag in ["0", "-1", "one", "99999999999999999999", "\0"] {
        let answer = update(&scene, smaller(etag), &["max_message_bytes"]).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "REQUEST_INVALID");
        assert_eq!(refusal.fields(), ["etag"]);
    }
    assert_eq!(get(&scene, &name).await, before);
    let after = update(&scene, smaller(&before.etag), &["max_message_bytes"]).await.unwrap();
    assert_ne!(after.etag, before.etag);
    let late = update(&scene, smaller(&before.etag), &["max_message_bytes"]).await;
    assert_refused(late, Code::Aborted, "ETAG_MISMATCH");
    let delete = |etag: String| {
        let request =
            v1::DeleteQueueRequest { name: name.clone(), etag, ..v1::DeleteQueueRequest::default() };
        let request = scene.caller.request(request);
        let mut queues = scene.caller.queues();
        async move { queues.delete_queue(request).await.map(|_| ()) }
    };
    assert_refused(delete(before.etag).await, Code::Aborted, "ETAG_MISMATCH");
    delete(after.etag).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_short_and_is_of_one_request() {
    let scene = Scene::start().await;
    let refusal = create(&scene, named("q"), &"x".repeat(65)).await;
    let refusal = assert_refused(refusal, Code::InvalidArgument, "REQUEST_INVALID");
    assert_says(&refusal, Code::InvalidArgument, "REQUEST_INVALID", 64);
    assert_eq!(refusal.fields(), ["request_id"]);
    let id = "0b5e9a52-9f0e-4d06-8f16-1f4a4c1d7d10";
    let first = create(&scene, named("q"), id).await.unwrap();
    // A repeated call creates nothing and is answered as the first; another call must not use its id.
    assert_eq!(create(&scene, named("q"), id).await.unwrap(), first);
    for other in [Queue { max_message_bytes: 5, ..named("q") }, named("other")] {
        let refusal = create(&scene, other, id).await;
        let refusal = assert_refused(refusal, Code::InvalidArgument, "REQUEST_ID_REUSED");
        assert_eq!(refusal.fields(), ["request_id"]);
    }
    assert_refused(create(&scene, named("q"), "another").await, Code::AlreadyExists, "QUEUE_ALREADY_EXISTS");
    assert_refused(create(&scene, named("q"), "").await, Code::AlreadyExists, "QUEUE_ALREADY_EXISTS");
    let other = create(&scene, named("other"), "a third").await.unwrap();
    assert_ne!(other.uid, first.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_opens_nothing() {
    let scene = Scene::start().await;
    for number in 0..5 {
        scene.plain_queue(&format!("q{number}")).await;
    }
    let list = |department: &str, page_size, page_token: &str| {
        let parent = format!("tenants/civil-affairs/departments/{department}");
        let request = v1::ListQueuesRequest { parent, page_size, page_token: page_token.to_owned() };
        let request = scene.caller.request(request);
        let mut queues = scene.caller.queues();
        async move { queues.list_queues(request).await.map(tonic::Response::into_inner) }
    };
    let first = list("household-registry", 2, "").await.unwrap();
    assert_eq!(first.queues.len(), 2);
    let token = first.next_page_token;
    // A page token of one department shows nothing of another.
    assert_eq!(list("identity-cards", 100, &token).await.unwrap().queues, []);
    let rest = list("household-registry", 100, &token).await.unwrap();
    let names: BTreeSet<_> = rest.queues.into_iter().chain(first.queues).map(|queue| queue.name).collect();
    assert_eq!(names, (0..5).map(|number| queue_name(&format!("q{number}"))).collect());
    let mut cut = token.clone();
    cut.pop();
    let long = "QUFB".repeat(16 << 10);
    for forged in ["%", "****", "Li4vLi4", "w_8", "4pyT", &format!("{token}="), &long, &cut[..1]] {
        let answer = list("household-registry", 2, forged).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "PAGE_TOKEN_INVALID");
        assert_eq!(refusal.fields(), ["page_token"]);
        super::assert_short(&refusal);
    }
    for page_size in [-1, i32::MIN] {
        let answer = list("household-registry", page_size, "").await;
        assert_refused(answer, Code::InvalidArgument, "REQUEST_INVALID");
    }
    assert_eq!(list("household-registry", i32::MAX, "").await.unwrap().queues.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_has_limits() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let base =
        || v1::ReceiveRequest { queue: queue.clone(), max_messages: 1, ..v1::ReceiveRequest::default() };
    let wait = |seconds, nanos| v1::ReceiveRequest { wait: Some(Duration { seconds, nanos }), ..base() };
    let lease = |seconds, nanos| {
        let lease_duration = Some(Duration { seconds, nanos });
        v1::ReceiveRequest { lease_duration, ..base() }
    };
    for (request, field, limit) in [
        (v1::ReceiveRequest { max_messages: 0, ..base() }, "max_messages", "1024"),
        (v1::ReceiveRequest { max_messages: 1025, ..base() }, "max_messages", "1024"),
        (v1::ReceiveRequest { max_messages: u32::MAX, ..base() }, "max_messages", "1024"),
        (wait(20, 1_000_000), "wait", "20000"),
        (wait(-1, 0), "wait", "20000"),
        (wait(0, 1_000_000_000), "wait", "20000"),
        (wait(i64::MAX, 0), "wait", "20000"),
        (lease(0, 0), "lease_duration", "43200000"),
        (lease(43_201, 0), "lease_duration", "43200000"),
    ] {
        let answer = scene.caller.consumer().receive(scene.caller.request(request)).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "REQUEST_INVALID");
        assert_eq!((refusal.fields(), refusal.fact("limit")), (vec![field.to_owned()], Some(limit)));
    }
    // The refused calls leased nothing; and a limit beyond all bounds is only a limit.
    let request = v1::ReceiveRequest { max_bytes: u64::MAX, max_messages: 1024, ..base() };
    let answer = scene.caller.consumer().receive(scene.caller.request(request)).await.unwrap();
    assert_eq!((answer.into_inner().deliveries.len(), scene.stats(&queue).await.in_flight), (1, 1));
    eventually("an empty queue", async || scene.receive_now(&queue, 1).await.is_empty().then_some(())).await;
}

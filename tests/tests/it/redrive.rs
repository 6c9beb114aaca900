//! Dead letters are redriven.

use posthouse_proto::v1::{
    self, MessageState, RedriveDeadLettersRequest, RedriveDeadLettersResponse, SettleAction,
    SubscriptionSettings,
};
use posthouse_tests::harness::{
    refusal::assert_refused,
    scene::{LONG, Scene, queue_name, settlement, text},
    wire::Caller,
};
use tonic::{Code, Status};

async fn try_redrive(
    caller: &Caller,
    request: RedriveDeadLettersRequest,
) -> Result<RedriveDeadLettersResponse, Status> {
    Ok(caller.messages().redrive_dead_letters(caller.request(request)).await?.into_inner())
}

async fn redrive(scene: &Scene, request: RedriveDeadLettersRequest) -> (u64, u64, bool) {
    let answer = try_redrive(&scene.caller, request).await.unwrap();
    (answer.redriven, answer.skipped, answer.more)
}

fn of(queue: &str) -> RedriveDeadLettersRequest {
    RedriveDeadLettersRequest { queue: queue.to_owned(), ..RedriveDeadLettersRequest::default() }
}

/// A queue with a dead-letter queue, and a dead letter for each text.
async fn queues(scene: &Scene, texts: &[&str]) -> (String, String, Vec<String>) {
    let letters = scene.plain_queue("letters").await;
    let settings =
        SubscriptionSettings { dead_letter_queue: letters.clone(), ..SubscriptionSettings::default() };
    let queue = scene.queue("q", settings).await;
    for text in texts {
        scene.fail(&queue, text).await;
    }
    let ids = scene.dead_letters(&letters).await.into_iter().map(|found| found.message_id).collect();
    (queue, letters, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_go_back_and_are_delivered_anew() {
    let mut scene = Scene::start().await;
    let (queue, letters, ids) = queues(&scene, &["a", "b", "c"]).await;
    assert_eq!(
        redrive(&scene, RedriveDeadLettersRequest { max_messages: 2, ..of(&letters) }).await,
        (2, 0, true)
    );
    // It was durable before it was answered.
    scene.crash().await;
    assert_eq!(scene.find(&ids[0]).await.state(), MessageState::Settled);
    let back = scene.receive(&queue, 10, LONG).await;
    assert_eq!(back.iter().map(text).collect::<Vec<_>>(), ["a", "b"]);
    for delivery in &back {
        let message = delivery.message.as_ref().unwrap();
        assert_eq!((delivery.attempt, &message.dead_letter), (1, &None));
        assert_eq!(message.attributes["kind"], format!("about {}", text(delivery)));
        scene.settled(&queue, settlement(delivery, SettleAction::Ack)).await;
    }
    assert_eq!(redrive(&scene, of(&letters)).await, (1, 0, false));
    assert_eq!(redrive(&scene, of(&letters)).await, (0, 0, false));
    assert_eq!(scene.stats(&queue).await.published, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn named_ones_go_and_the_rest_stays() {
    let scene = Scene::start().await;
    let (queue, letters, ids) = queues(&scene, &["a", "b", "c"]).await;
    let held = scene.receive(&letters, 1, LONG).await.remove(0);
    let message_ids = vec![ids[0].clone(), ids[2].clone(), ids[2].clone()];
    let named = RedriveDeadLettersRequest { message_ids, ..of(&letters) };
    // One is leased to a consumer, one is named twice.
    assert_eq!(redrive(&scene, named.clone()).await, (1, 2, false));
    scene.settled(&letters, settlement(&held, SettleAction::Ack)).await;
    assert_eq!(redrive(&scene, named).await, (0, 3, false));
    assert_eq!(text(&scene.receive_one(&queue, LONG).await), "c");
    assert_eq!(text(&scene.receive_one(&letters, LONG).await), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_has_does_not_stand_in_the_way() {
    let scene = Scene::start().await;
    let (_, letters, _) = queues(&scene, &["a", "b", "c"]).await;
    scene.receive(&letters, 2, LONG).await;
    let one = RedriveDeadLettersRequest { max_messages: 1, ..of(&letters) };
    let mut redriven = 0;
    for _ in 0..3 {
        redriven += redrive(&scene, one.clone()).await.0;
    }
    assert_eq!(redriven, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_become_ready_where_they_are() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let id = scene.fail(&queue, "a").await;
    assert_eq!(redrive(&scene, of(&queue)).await, (1, 0, false));
    assert_eq!(scene.find(&id).await.state(), MessageState::Ready);
    let again = scene.receive_one(&queue, LONG).await;
    assert_eq!((again.attempt, again.message.unwrap().id), (1, id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_gone_needs_a_target() {
    let scene = Scene::start().await;
    let (queue, letters, _) = queues(&scene, &["a"]).await;
    let delete = v1::DeleteQueueRequest { name: queue, ..v1::DeleteQueueRequest::default() };
    scene.caller.queues().delete_queue(scene.caller.request(delete)).await.unwrap();
    assert_eq!(redrive(&scene, of(&letters)).await, (0, 1, false));
    let missing = RedriveDeadLettersRequest { target_queue: queue_name("other"), ..of(&letters) };
    let answer = try_redrive(&scene.caller, missing.clone()).await;
    assert_refused(answer, Code::NotFound, "QUEUE_NOT_FOUND");
    let other = scene.plain_queue("other").await;
    assert_eq!(redrive(&scene, missing).await, (1, 0, false));
    assert_eq!(text(&scene.receive_one(&other, LONG).await), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_right_to_manage_every_queue_they_go_to() {
    let scene = Scene::start().await;
    let (queue, letters, ids) = queues(&scene, &["a"]).await;
    let other = scene.plain_queue("other").await;
    let grant =
        |action: &str, queue: &str| format!("posthouse:{action}:civil-affairs/household-registry/{queue}");
    let source = scene.scoped(&grant("manage", "letters"));
    let named = RedriveDeadLettersRequest { message_ids: ids.clone(), ..of(&letters) };
    let elsewhere = RedriveDeadLettersRequest { target_queue: other.clone(), ..of(&letters) };
    let nowhere = RedriveDeadLettersRequest { target_queue: queue_name("none"), ..of(&letters) };
    let mut refusals = Vec::new();
    for request in [of(&letters), named, elsewhere.clone(), nowhere] {
        let answer = try_redrive(&source, request).await;
        refusals.push(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"));
    }
    let reader = scene.scoped(&format!("{} {}", grant("stats", "letters"), grant("manage", "q")));
    let answer = try_redrive(&reader, of(&letters)).await;
    refusals.push(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"));
    // The answer does not show whether the queue they were published to still exists.
    let delete = v1::DeleteQueueRequest { name: queue, ..v1::DeleteQueueRequest::default() };
    scene.caller.queues().delete_queue(scene.caller.request(delete)).await.unwrap();
    let answer = try_redrive(&source, of(&letters)).await;
    refusals.push(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"));
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(scene.dead_letters(&letters).await.len(), 1);
    let both = scene.scoped(&format!("{} {}", grant("manage", "letters"), grant("manage", "other")));
    assert_eq!(try_redrive(&both, elsewhere).await.unwrap().redriven, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_cannot_be_meant_is_refused() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let id = scene.fail(&queue, "a").await;
    let other = scene.plain_queue("other").await;
    let elsewhere = "tenants/civil-affairs/departments/identity-cards/queues/q".to_owned();
    for (request, field) in [
        (RedriveDeadLettersRequest { max_messages: 1_001, ..of(&queue) }, "max_messages"),
        (RedriveDeadLettersRequest { message_ids: vec![id.clone(); 1_001], ..of(&queue) }, "message_ids"),
        (
            RedriveDeadLettersRequest { message_ids: vec![id.clone(), "x".to_owned()], ..of(&queue) },
            "message_ids[1]",
        ),
        (RedriveDeadLettersRequest { message_ids: vec![id], ..of(&other) }, "message_ids[0]"),
        (RedriveDeadLettersRequest { target_queue: elsewhere, ..of(&queue) }, "target_queue"),
    ] {
        let answer = try_redrive(&scene.caller, request).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "REQUEST_INVALID");
        assert!(refusal.message.starts_with(field), "{refusal:?}");
    }
    assert_eq!(scene.stats(&queue).await.parked, 1);
}

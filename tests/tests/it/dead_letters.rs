//! Messages that failed too often, or that a consumer dead-letters.

use posthouse_proto::v1::{self, DeadLetterReason, Delivery, SettleAction, SubscriptionSettings};
use posthouse_tests::harness::scene::{LONG, SHORT, Scene, settlement, text};

async fn queues(scene: &Scene, max_attempts: u32) -> (String, String) {
    let letters = scene.plain_queue("letters").await;
    let settings = SubscriptionSettings {
        max_attempts,
        dead_letter_queue: letters.clone(),
        ..SubscriptionSettings::default()
    };
    (scene.queue("q", settings).await, letters)
}

#[track_caller]
fn assert_moved_from(
    letter: &Delivery,
    source: &Delivery,
    queue: &str,
    reason: DeadLetterReason,
    attempts: u32,
) {
    let (new, old) = (letter.message.as_ref().unwrap(), source.message.as_ref().unwrap());
    assert_eq!((&new.payload, &new.attributes), (&old.payload, &old.attributes));
    assert_ne!(new.id, old.id);
    assert_eq!(letter.attempt, 1);
    let expected = v1::DeadLetter {
        reason: reason.into(),
        source_queue: queue.to_owned(),
        source_subscription: "default".to_owned(),
        source_message_id: old.id.clone(),
        source_sequence: old.sequence,
        source_publish_time: old.publish_time,
        attempts,
    };
    assert_eq!(new.dead_letter.as_deref(), Some(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_too_often_moves_with_reason_and_origin() {
    let mut scene = Scene::start().await;
    let (queue, letters) = queues(&scene, 3).await;
    scene.publish(&queue, &["other", "a"]).await;
    let other = scene.receive(&queue, 1, LONG).await.remove(0);
    let mut last = None;
    for attempt in 1..=3 {
        // A failure is a nack or an expired lease.
        let lease = if attempt == 2 { SHORT } else { LONG };
        let delivery = scene.receive_one(&queue, lease).await;
        assert_eq!((delivery.attempt, text(&delivery).as_str()), (attempt, "a"));
        if attempt != 2 {
            scene.settled(&queue, settlement(&delivery, SettleAction::Nack)).await;
        }
        last = Some(delivery);
    }
    let last = last.unwrap();
    scene.crash().await;
    let letter = scene.receive_one(&letters, LONG).await;
    assert_moved_from(&letter, &last, &queue, DeadLetterReason::MaxAttempts, 3);
    scene.settled(&queue, settlement(&other, SettleAction::Ack)).await;
    assert!(scene.receive_now(&queue, 10).await.is_empty());
    scene.settled(&letters, settlement(&letter, SettleAction::Ack)).await;
    assert!(scene.receive_now(&letters, 10).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_may_call_a_message_hopeless() {
    let scene = Scene::start().await;
    let (queue, letters) = queues(&scene, 0).await;
    scene.publish(&queue, &["a"]).await;
    let delivery = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&delivery, SettleAction::DeadLetter)).await;
    let letter = scene.receive_one(&letters, LONG).await;
    assert_moved_from(&letter, &delivery, &queue, DeadLetterReason::Consumer, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_queue_for_them_dead_letters_are_parked_and_counted() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    let delivery = scene.receive(&queue, 1, LONG).await.remove(0);
    scene.settled(&queue, settlement(&delivery, SettleAction::DeadLetter)).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.waiting, stats.parked), (1, 0, 0, 1));
    assert_eq!(text(&scene.receive_one(&queue, LONG).await), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_is_of_the_same_department() {
    let scene = Scene::start().await;
    let elsewhere = "tenants/civil-affairs/departments/identity-cards/queues/letters";
    let queue = v1::Queue {
        name: posthouse_tests::harness::scene::queue_name("q"),
        default_subscription: Some(SubscriptionSettings {
            dead_letter_queue: elsewhere.to_owned(),
            ..SubscriptionSettings::default()
        }),
        ..v1::Queue::default()
    };
    let request = v1::CreateQueueRequest { queue: Some(queue), ..v1::CreateQueueRequest::default() };
    let answer = scene.caller.queues().create_queue(scene.caller.request(request)).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::InvalidArgument);
}

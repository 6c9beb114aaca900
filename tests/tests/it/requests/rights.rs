//! The owner of a request id, and the rights that a repeated call needs.

use posthouse_proto::v1::{self, Queue, SubscriptionSettings};
use posthouse_tests::harness::{
    refusal::assert_refused,
    scene::{Scene, queue_name},
    site::{CIVIL, TAXATION},
    wire::Caller,
};
use prost_types::FieldMask;
use tonic::Code;

use super::{REUSED, another, create, delete, purge, redrive, update, update_of};

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_of_one_request_of_one_caller() {
    let scene = Scene::start().await;
    let queue = queue_name("q");
    create(&scene.caller, &queue, 5, "id").await.unwrap();
    scene.publish(&queue, &["one"]).await;
    let reused = [
        create(&scene.caller, &queue, 6, "id").await.map(drop),
        update(&scene.caller, update_of(&queue, 7, "", "id")).await.map(drop),
        delete(&scene.caller, &queue, "", "id").await,
        purge(&scene.caller, &queue, "id").await.map(drop),
        redrive(&scene.caller, &queue, 0, "id").await.map(drop),
    ];
    for answer in reused {
        assert_refused(answer, REUSED.0, REUSED.1);
    }
    // Also if only a field differs, and also if the queue does not exist.
    purge(&scene.caller, &queue, "purge").await.unwrap();
    assert_refused(purge(&scene.caller, &queue_name("other"), "purge").await, REUSED.0, REUSED.1);
    update(&scene.caller, update_of(&queue, 7, "", "update")).await.unwrap();
    let with_etag = update(&scene.caller, update_of(&queue, 7, "1", "update")).await;
    assert_refused(with_etag, REUSED.0, REUSED.1);
    // Another subject and another tenant can use the id.
    let other = another(&scene.site).await;
    assert_refused(create(&other, &queue, 5, "id").await, Code::AlreadyExists, "QUEUE_ALREADY_EXISTS");
    scene.publish(&queue, &["two"]).await;
    assert_eq!(purge(&other, &queue, "purge").await.unwrap(), 1);
    let foreign = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    assert_refused(create(&foreign, &queue, 5, "id").await, Code::PermissionDenied, "GRANT_MISSING");
    // A caller that has lost the right does not learn what was done.
    let reads = scene.scoped(&format!("posthouse:stats:{CIVIL}/*/*"));
    assert_refused(create(&reads, &queue, 5, "id").await, Code::PermissionDenied, "GRANT_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_needs_the_right_on_the_queue_that_it_names_beside() {
    let scene = Scene::start().await;
    let (queue, target) = (scene.plain_queue("q").await, scene.plain_queue("target").await);
    let settings =
        |target: &str| SubscriptionSettings { dead_letter_queue: target.to_owned(), ..Default::default() };
    let named = |target: &str| Queue {
        name: queue.clone(),
        default_subscription: Some(settings(target)),
        ..Queue::default()
    };
    let request = |id: &str, target: &str| v1::UpdateQueueRequest {
        queue: Some(named(target)),
        update_mask: Some(FieldMask { paths: vec!["default_subscription.dead_letter_queue".to_owned()] }),
        request_id: id.to_owned(),
        validate_only: false,
    };
    update(&scene.caller, request("id", &target)).await.unwrap();
    update(&scene.caller, request("away", "")).await.unwrap();
    let manages = scene.scoped(&format!("posthouse:manage:{CIVIL}/household-registry/q"));
    let denied = update(&manages, request("id", &target)).await;
    assert_refused(denied, Code::PermissionDenied, "GRANT_MISSING");
    update(&scene.caller, request("id", &target)).await.unwrap();
    // The same holds for the dead-letter queue that a request names.
    let to = |caller: &Caller, id: &str| {
        let request = v1::RedriveDeadLettersRequest {
            queue: queue.clone(),
            target_queue: target.clone(),
            request_id: id.to_owned(),
            ..v1::RedriveDeadLettersRequest::default()
        };
        let (mut messages, request) = (caller.messages(), caller.request(request));
        async move { messages.redrive_dead_letters(request).await.map(drop) }
    };
    to(&scene.caller, "redrive").await.unwrap();
    assert_refused(to(&manages, "redrive").await, Code::PermissionDenied, "GRANT_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_redrive_needs_the_rights_on_the_queues_that_the_letters_came_from() {
    let mut scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    for name in ["a", "b", "gone"] {
        let settings = SubscriptionSettings { dead_letter_queue: letters.clone(), ..Default::default() };
        let queue = scene.queue(name, settings).await;
        scene.fail(&queue, name).await;
    }
    delete(&scene.caller, &queue_name("gone"), "", "").await.unwrap();
    let first = redrive(&scene.caller, &letters, 0, "id").await.unwrap();
    assert_eq!((first.redriven, first.skipped, first.skipped_dead_letters.len()), (2, 1, 1));
    // Whether they still exist or not, and whether the letters were redriven or not.
    delete(&scene.caller, &queue_name("b"), "", "").await.unwrap();
    scene.crash().await;
    let scoped = |names: &[&str]| {
        let grants = names.iter().map(|name| format!("posthouse:manage:{CIVIL}/household-registry/{name}"));
        scene.scoped(&grants.collect::<Vec<_>>().join(" "))
    };
    let all = ["letters", "a", "b", "gone"];
    for without in 1..all.len() {
        let some: Vec<_> = all.into_iter().filter(|name| *name != all[without]).collect();
        let answer = redrive(&scoped(&some), &letters, 0, "id").await;
        assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING");
    }
    assert_eq!(redrive(&scoped(&all), &letters, 0, "id").await.unwrap(), first);
    assert_eq!(redrive(&scene.caller, &letters, 0, "id").await.unwrap(), first);
}

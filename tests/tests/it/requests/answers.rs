//! A repeated request is answered as the first was, for as long as it is remembered.

use posthouse_proto::v1::{self, Queue, SubscriptionSettings};
use posthouse_tests::harness::{
    refusal::assert_refused,
    scene::{Scene, queue_name},
    site::Site,
    wire::Caller,
};
use prost_types::FieldMask;
use tonic::Code;

use super::{REUSED, another, create, delete, purge, redrive, update, update_of};

/// Every kind of change with an id, and its answer.
#[derive(Debug, PartialEq)]
struct Answers {
    created: Queue,
    updated: Queue,
    purged: u64,
    redriven: v1::RedriveDeadLettersResponse,
}

async fn ask(caller: &Caller) -> Answers {
    Answers {
        created: create(caller, &queue_name("q"), 5, "create").await.unwrap(),
        updated: update(caller, update_of(&queue_name("q"), 7, "1", "update")).await.unwrap(),
        purged: purge(caller, &queue_name("q"), "purge").await.unwrap(),
        redriven: redrive(caller, &queue_name("letters"), 1, "redrive").await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_answered_as_it_was_whatever_happened_since() {
    let mut scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    for letter in ["a", "b", "c"] {
        scene.fail(&letters, letter).await;
    }
    let queue = queue_name("q");
    let first = create(&scene.caller, &queue, 5, "create").await.unwrap();
    scene.publish(&queue, &["one", "two"]).await;
    let answers = ask(&scene.caller).await;
    assert_eq!((answers.created.uid.clone(), answers.created.etag.clone()), (first.uid, first.etag));
    assert_eq!((answers.updated.etag.as_str(), answers.purged), ("2", 2));
    assert_eq!((answers.redriven.redriven, answers.redriven.more), (1, true));
    // Messages, settings and etag have changed; nothing is done again.
    scene.publish(&queue, &["three"]).await;
    update(&scene.caller, update_of(&queue, 9, "", "")).await.unwrap();
    assert_eq!(ask(&scene.caller).await, answers);
    assert_eq!((scene.stats(&queue).await.ready, scene.stats(&letters).await.parked), (1, 2));
    delete(&scene.caller, &queue, "3", "delete").await.unwrap();
    scene.crash().await;
    // The queue is deleted, and then there is another one of its name.
    for made_anew in [false, true] {
        if made_anew {
            create(&scene.caller, &queue, 5, "anew").await.unwrap();
            scene.publish(&queue, &["four"]).await;
        }
        assert_eq!(ask(&scene.caller).await, answers);
        delete(&scene.caller, &queue, "3", "delete").await.unwrap();
    }
    assert_eq!((scene.stats(&queue).await.ready, scene.stats(&letters).await.parked), (1, 2));
    // The queue of the dead letters is deleted too.
    delete(&scene.caller, &letters, "", "").await.unwrap();
    assert_eq!(ask(&scene.caller).await.redriven, answers.redriven);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_found_nothing_is_remembered_too() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let nothing = redrive(&scene.caller, &letters, 0, "id").await.unwrap();
    assert_eq!((nothing.redriven, nothing.skipped, nothing.more), (0, 0, false));
    scene.fail(&letters, "a").await;
    assert_eq!(redrive(&scene.caller, &letters, 0, "id").await.unwrap(), nothing);
    assert_eq!(scene.stats(&letters).await.parked, 1);
    assert_eq!(redrive(&scene.caller, &letters, 0, "another").await.unwrap().redriven, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_with_the_queue_of_its_answer_is_the_same() {
    let scene = Scene::start().await;
    let create = async |queue: &Queue| {
        let request = v1::CreateQueueRequest {
            queue: Some(queue.clone()),
            request_id: "create".to_owned(),
            validate_only: false,
        };
        scene
            .caller
            .queues()
            .create_queue(scene.caller.request(request))
            .await
            .map(tonic::Response::into_inner)
    };
    let asked = Queue { name: queue_name("q"), ..Queue::default() };
    let made = create(&asked).await.unwrap();
    assert!(!made.uid.is_empty() && made.max_message_bytes > 0, "{made:?}");
    let stats = Some(scene.stats(&made.name).await);
    // Fields that only the server sets do not count, and those that it filled in count as asked for.
    for same in [&made, &Queue { stats, ..made.clone() }, &asked] {
        assert_eq!(create(same).await.unwrap(), made);
    }
    let other = Queue { max_message_bytes: made.max_message_bytes - 1, ..made.clone() };
    assert_refused(create(&other).await, REUSED.0, REUSED.1);
    // For an update, the etag is a condition, and the other fields do not count.
    let with = |etag: &str, uid: &str| {
        let request = update_of(&made.name, 7, etag, "update");
        let queue = Queue { uid: uid.to_owned(), update_time: made.update_time, ..request.queue.unwrap() };
        v1::UpdateQueueRequest { queue: Some(queue), ..request }
    };
    let updated = update(&scene.caller, with("1", "")).await.unwrap();
    assert_eq!(update(&scene.caller, with("1", &made.uid)).await.unwrap(), updated);
    assert_refused(update(&scene.caller, with("2", "")).await, REUSED.0, REUSED.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_checked_or_was_refused_is_not_remembered() {
    let scene = Scene::start().await;
    let queue = queue_name("q");
    let check = v1::CreateQueueRequest {
        queue: Some(Queue { name: queue.clone(), ..Queue::default() }),
        request_id: "id".to_owned(),
        validate_only: true,
    };
    scene.caller.queues().create_queue(scene.caller.request(check)).await.unwrap();
    assert_refused(delete(&scene.caller, &queue, "", "id").await, Code::NotFound, "QUEUE_NOT_FOUND");
    create(&scene.caller, &queue, 5, "id").await.unwrap();
    // A check does not return the answer of a call that was made, either.
    let check = v1::DeleteQueueRequest {
        name: queue_name("none"),
        request_id: "id".to_owned(),
        validate_only: true,
        ..v1::DeleteQueueRequest::default()
    };
    let answer = scene.caller.queues().delete_queue(scene.caller.request(check)).await;
    assert_refused(answer, Code::NotFound, "QUEUE_NOT_FOUND");
    assert_refused(
        create(&scene.caller, &queue, 5, "new").await,
        Code::AlreadyExists,
        "QUEUE_ALREADY_EXISTS",
    );
    delete(&scene.caller, &queue, "", "").await.unwrap();
    create(&scene.caller, &queue, 5, "new").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_thousand_and_some_are_remembered() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let other = another(&scene.site).await;
    scene.publish(&queue, &["one"]).await;
    assert_eq!(purge(&other, &queue, "its own").await.unwrap(), 1);
    scene.publish(&queue, &["one", "two"]).await;
    assert_eq!(purge(&scene.caller, &queue, "the first").await.unwrap(), 2);
    let some = |from: usize, to: usize| {
        let calls = (from..to).map(|number| purge_some(&scene.caller, &queue, number));
        futures_util::future::join_all(calls)
    };
    some(1, 1_024).await;
    scene.publish(&queue, &["three"]).await;
    assert_eq!(purge(&scene.caller, &queue, "the first").await.unwrap(), 2, "it is the 1,024th from the end");
    // With one more, it is a new request again.
    some(1_024, 1_025).await;
    scene.publish(&queue, &["four"]).await;
    assert_eq!(purge(&scene.caller, &queue, "the first").await.unwrap(), 1);
    assert_eq!(purge(&other, &queue, "its own").await.unwrap(), 1, "another's are not pushed out");
}

async fn purge_some(caller: &Caller, queue: &str, number: usize) {
    purge(caller, queue, &format!("number {number}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_repeat_at_once_one_is_done() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    for letter in ["a", "b"] {
        scene.fail(&letters, letter).await;
    }
    let calls = (0..50).map(|_| redrive(&scene.caller, &letters, 1, "id"));
    let answers = futures_util::future::join_all(calls).await;
    let first = answers[0].as_ref().unwrap();
    assert_eq!((first.redriven, scene.stats(&letters).await.parked), (1, 1));
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    let updates = (0..50).map(|_| update(&scene.caller, update_of(&letters, 9, "1", "update")));
    let updated = futures_util::future::join_all(updates).await;
    assert!(updated.iter().all(|answer| answer.as_ref().unwrap().etag == "2"), "{updated:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_hears_of_the_queue_it_made() {
    let site = Site::new();
    site.configure(&[("name = \"civil-affairs\"\n", "name = \"civil-affairs\"\nmax_queues = 1\n")]);
    let scene = Scene::on(site).await;
    let first = create(&scene.caller, &queue_name("q"), 5, "id").await.unwrap();
    let denied = create(&scene.caller, &queue_name("other"), 5, "other").await;
    assert_refused(denied, Code::ResourceExhausted, "LIMIT_REACHED");
    assert_eq!(create(&scene.caller, &queue_name("q"), 5, "id").await.unwrap(), first);
    delete(&scene.caller, &queue_name("q"), "", "").await.unwrap();
    create(&scene.caller, &queue_name("other"), 5, "other").await.unwrap();
    assert_eq!(create(&scene.caller, &queue_name("q"), 5, "id").await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_merged_with_the_definition_of_its_etag() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let lease = |seconds: i64, etag: &str| {
        let lease_duration = Some(prost_types::Duration { seconds, nanos: 0 });
        let settings = SubscriptionSettings { lease_duration, ..SubscriptionSettings::default() };
        v1::UpdateQueueRequest {
            queue: Some(Queue {
                name: queue.clone(),
                etag: etag.to_owned(),
                default_subscription: Some(settings),
                ..Queue::default()
            }),
            update_mask: Some(FieldMask { paths: vec!["default_subscription.lease_duration".to_owned()] }),
            ..v1::UpdateQueueRequest::default()
        }
    };
    // An etag that is not the current one is refused, older or newer: accepting a future one could lose a change.
    update(&scene.caller, update_of(&queue, 7, "1", "")).await.unwrap();
    for etag in ["1", "3"] {
        let answer = update(&scene.caller, lease(60, etag)).await;
        assert_refused(answer, Code::Aborted, "ETAG_MISMATCH");
    }
    // A hundred changes at once, each of one of two fields and with the next etag: none undoes another.
    let calls = (0..100).map(|number: u32| {
        let etag = (2 + number % 20).to_string();
        let request = match number % 2 {
            0 => update_of(&queue, 100 + number, &etag, ""),
            _ => lease(100 + i64::from(number), &etag),
        };
        update(&scene.caller, request)
    });
    let answers = futures_util::future::join_all(calls).await;
    let mut made: Vec<Queue> = answers.into_iter().flatten().collect();
    made.sort_by_key(|queue| queue.etag.parse::<u64>().unwrap());
    for (before, after) in made.iter().zip(&made[1..]) {
        let [before, after] = [before, after].map(|queue| queue.default_subscription.clone().unwrap());
        let changed = u32::from(before.max_attempts != after.max_attempts)
            + u32::from(before.lease_duration != after.lease_duration);
        assert_eq!(changed, 1, "{before:?} {after:?}");
    }
    assert!(!made.is_empty());
}

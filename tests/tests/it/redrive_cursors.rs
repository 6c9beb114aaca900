//! A redrive passes over letters that cannot go, and says which, why, and where to continue.

use std::collections::BTreeMap;

use posthouse_proto::v1::{
    self, RedriveDeadLettersRequest, RedriveDeadLettersResponse, SettleAction, SkipReason,
    SubscriptionSettings,
};
use posthouse_tests::harness::{
    cli,
    refusal::assert_refused,
    scene::{LONG, Scene, queue_name, settlement, text},
    site::CIVIL,
    wire::Caller,
};
use tonic::{Code, Status};

/// Letters that cannot go, before one that can: more than one call passes over.
const STUCK: usize = 16_100;

async fn try_redrive(
    caller: &Caller,
    request: RedriveDeadLettersRequest,
) -> Result<RedriveDeadLettersResponse, Status> {
    Ok(caller.messages().redrive_dead_letters(caller.request(request)).await?.into_inner())
}

async fn redrive(scene: &Scene, request: RedriveDeadLettersRequest) -> RedriveDeadLettersResponse {
    try_redrive(&scene.caller, request).await.unwrap()
}

fn of(queue: &str, max: u32, page_token: &str) -> RedriveDeadLettersRequest {
    RedriveDeadLettersRequest {
        queue: queue.to_owned(),
        max_messages: max,
        page_token: page_token.to_owned(),
        ..RedriveDeadLettersRequest::default()
    }
}

/// A queue whose dead letters go to `letters`.
async fn queue(scene: &Scene, name: &str) -> String {
    let dead_letter_queue = queue_name("letters");
    scene.queue(name, SubscriptionSettings { dead_letter_queue, ..SubscriptionSettings::default() }).await
}

async fn delete(scene: &Scene, name: &str) {
    let request = v1::DeleteQueueRequest { name: name.to_owned(), ..v1::DeleteQueueRequest::default() };
    scene.caller.queues().delete_queue(scene.caller.request(request)).await.unwrap();
}

/// This many messages of a size, which become dead letters at once.
async fn fail_many(scene: &Scene, queue: &str, count: usize, payload: &[u8], batch: usize) {
    let mut left = count;
    while left > 0 {
        let message = v1::NewMessage { payload: payload.to_vec().into(), ..v1::NewMessage::default() };
        let messages = vec![message; batch.min(left)];
        left -= messages.len();
        let request = v1::PublishRequest { queue: queue.to_owned(), messages, ..Default::default() };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
        dead_letter_all(scene, queue).await;
    }
}

async fn dead_letter_all(scene: &Scene, queue: &str) {
    loop {
        let held = scene.receive_now(queue, 1_000).await;
        if held.is_empty() {
            return;
        }
        let held = held.iter().map(|delivery| settlement(delivery, SettleAction::DeadLetter)).collect();
        scene.settle_all(queue, held).await.unwrap();
    }
}

fn counts(answer: &RedriveDeadLettersResponse) -> BTreeMap<SkipReason, u64> {
    answer.skipped_by_reason.iter().map(|skipped| (skipped.reason(), skipped.count)).collect()
}

fn skipped(answer: &RedriveDeadLettersResponse) -> Vec<(String, SkipReason)> {
    let letters = answer.skipped_dead_letters.iter();
    letters.map(|letter| (letter.message_id.clone(), letter.reason())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_thousand_that_cannot_go_do_not_keep_one_that_can() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let (deleted, alive) = (queue(&scene, "gone").await, queue(&scene, "alive").await);
    fail_many(&scene, &deleted, STUCK, b"stuck", 1_000).await;
    assert_eq!(scene.stats(&letters).await.ready, STUCK as u64);
    delete(&scene, &deleted).await;
    scene.fail(&alive, "first").await;
    scene.fail(&alive, "second").await;
    let (mut token, mut passed, mut calls) = (String::new(), 0, 0);
    let found = loop {
        let answer = redrive(&scene, of(&letters, 1, &token)).await;
        calls += 1;
        passed += answer.skipped;
        assert!(answer.skipped <= 4_096 && answer.skipped_dead_letters.len() <= 100, "{answer:?}");
        assert_eq!(counts(&answer).get(&SkipReason::QueueGone).copied().unwrap_or(0), answer.skipped);
        if answer.redriven > 0 {
            break answer;
        }
        assert!(answer.more && answer.next_page_token != token, "it does not go on: {answer:?}");
        token = answer.next_page_token;
    };
    println!("{calls} calls passed {passed}");
    assert_eq!((found.redriven, passed, found.more), (1, STUCK as u64, true));
    assert_eq!(text(&scene.receive_one(&alive, LONG).await), "first");
    // The command continues by itself.
    let context = scene.site.context_file(CIVIL);
    let redrive = ["dead-letters", "redrive", "household-registry/letters", "--max", "1"];
    let (printed, errors) = cli::end(0, &context, redrive);
    assert_eq!(printed, format!("{{\"redriven\": 1, \"skipped\": {STUCK}}}\n"));
    assert!(
        errors.contains(&format!("{STUCK} stay where they are: {STUCK} whose queue is gone (")),
        "{errors}"
    );
    assert_eq!(text(&scene.receive_one(&alive, LONG).await), "second");
    scene.fail(&alive, "third").await;
    let (printed, errors) =
        cli::end(75, &context, ["dead-letters", "redrive", "household-registry/letters", "--all"]);
    assert_eq!(printed, format!("{{\"redriven\": 1, \"skipped\": {STUCK}}}\n"));
    assert!(errors.contains("whose queue is gone"), "{errors}");
    assert_eq!(scene.stats(&letters).await.ready, STUCK as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_tells_what_stays_and_why() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let (deleted, mine, theirs) =
        (queue(&scene, "gone").await, queue(&scene, "mine").await, queue(&scene, "theirs").await);
    for queue in [&theirs, &deleted, &mine, &mine] {
        scene.fail(queue, "a").await;
    }
    let unknown = queue(&scene, "unknown").await;
    scene.fail(&unknown, "a").await;
    let ids: Vec<String> =
        scene.dead_letters(&letters).await.into_iter().map(|found| found.message_id).collect();
    // The third is leased to a consumer; so are the first two, for which that is not reported.
    let held = scene.receive(&letters, 3, LONG).await;
    assert_eq!(held.len(), 3);
    for queue in [&deleted, &unknown] {
        delete(&scene, queue).await;
    }
    let grant = |action: &str, queue: &str| format!("posthouse:{action}:{CIVIL}/household-registry/{queue}");
    let scope = [grant("dlq", "letters"), grant("publish", "mine"), grant("publish", "gone")].join(" ");
    let caller = scene.scoped(&scope);
    let answer = try_redrive(&caller, of(&letters, 0, "")).await.unwrap();
    assert_eq!((answer.redriven, answer.skipped, answer.more), (1, 4, false));
    let [missing, is_deleted, leased] = [SkipReason::GrantMissing, SkipReason::QueueGone, SkipReason::Leased];
    // Without a right on the queue, the caller does not learn whether it exists.
    let expected: Vec<_> = [(0, missing), (1, is_deleted), (2, leased), (4, missing)]
        .map(|(at, reason)| (ids[at].clone(), reason))
        .into();
    assert_eq!(skipped(&answer), expected);
    assert_eq!(counts(&answer), BTreeMap::from([(missing, 2), (is_deleted, 1), (leased, 1)]));
    assert_eq!(text(&scene.receive_one(&mine, LONG).await), "a");
    // By their ids, with one that never existed.
    let mut message_ids = ids.clone();
    message_ids.push(message_ids[4].clone());
    let named = RedriveDeadLettersRequest { message_ids, ..of(&letters, 0, "") };
    let answer = try_redrive(&caller, named.clone()).await.unwrap();
    assert_eq!((answer.redriven, answer.skipped), (0, 6));
    assert_eq!(counts(&answer)[&SkipReason::NotDeadLetter], 1);
    // If the caller has a right on none of them, the call is refused.
    let only = |ids: &[&String]| RedriveDeadLettersRequest {
        message_ids: ids.iter().map(|id| (*id).clone()).collect(),
        ..of(&letters, 0, "")
    };
    let answer = try_redrive(&caller, only(&[&ids[0], &ids[4]])).await;
    assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING");
    // To a target they go from any queue, but for those that are leased.
    let target = scene.plain_queue("target").await;
    let to = RedriveDeadLettersRequest { target_queue: target.clone(), ..of(&letters, 0, "") };
    let answer = redrive(&scene, to).await;
    assert_eq!((answer.redriven, counts(&answer)), (1, BTreeMap::from([(leased, 3)])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_one_call_is_for_the_next() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let queue = queue(&scene, "q").await;
    let megabyte = vec![7; 1 << 20];
    fail_many(&scene, &queue, 20, &megabyte, 3).await;
    let first = redrive(&scene, of(&letters, 0, "")).await;
    assert_eq!((first.redriven, first.skipped, first.more), (16, 0, true));
    let rest = redrive(&scene, of(&letters, 0, &first.next_page_token)).await;
    assert_eq!((rest.redriven, rest.more, rest.next_page_token.as_str()), (4, false, ""));
    // By ids, those that were not reached are named.
    dead_letter_all(&scene, &queue).await;
    let ids: Vec<String> =
        scene.dead_letters(&letters).await.into_iter().map(|found| found.message_id).collect();
    let named = |ids: &[String], max| RedriveDeadLettersRequest {
        message_ids: ids.to_vec(),
        ..of(&letters, max, "")
    };
    let first = redrive(&scene, named(&ids, 19)).await;
    assert_eq!((first.redriven, first.more, first.next_page_token.as_str()), (16, true, ""));
    assert_eq!(first.not_reached, ids[16..]);
    let second = redrive(&scene, named(&first.not_reached, 3)).await;
    assert_eq!((second.redriven, second.more, &second.not_reached[..]), (3, true, &ids[19..]));
    let context = scene.site.context_file(CIVIL);
    let message = ["dead-letters", "redrive", "household-registry/letters", "--message", &ids[19]];
    assert_eq!(cli::succeed(&context, message), b"{\"redriven\": 1, \"skipped\": 0}\n");
    assert_eq!(scene.stats(&letters).await.ready, 0);
}

/// The answer is stored with the names of the queues that they go back to, so these have a limit.
#[tokio::test(flavor = "multi_thread")]
async fn letters_of_very_many_queues_take_more_than_one_call() {
    const QUEUES: usize = 66;
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    for number in 0..QUEUES {
        let queue = queue(&scene, &format!("q-{number}")).await;
        scene.fail(&queue, "a").await;
        scene.publish(&queue, &["b"]).await;
        dead_letter_all(&scene, &queue).await;
    }
    let ids: Vec<_> = scene.dead_letters(&letters).await.into_iter().map(|found| found.message_id).collect();
    assert_eq!(ids.len(), 2 * QUEUES);
    let request = RedriveDeadLettersRequest { request_id: "first".to_owned(), ..of(&letters, 0, "") };
    let first = redrive(&scene, request.clone()).await;
    assert_eq!((first.redriven, first.skipped, first.more), (127, 0, true));
    assert_eq!(redrive(&scene, request).await, first);
    let named = RedriveDeadLettersRequest { message_ids: ids.clone(), ..of(&letters, 0, "") };
    let named = redrive(&scene, named).await;
    // Those that were redriven count for no queue.
    assert_eq!((named.redriven, named.skipped, named.more), (5, 127, false));
    assert_eq!(scene.stats(&letters).await.ready, 0);
    for number in 0..QUEUES {
        assert_eq!(scene.stats(&queue_name(&format!("q-{number}"))).await.ready, 2);
        dead_letter_all(&scene, &queue_name(&format!("q-{number}"))).await;
    }
    let ids: Vec<_> = scene.dead_letters(&letters).await.into_iter().map(|found| found.message_id).collect();
    let named = RedriveDeadLettersRequest { message_ids: ids.clone(), ..of(&letters, 0, "") };
    let first = redrive(&scene, named).await;
    assert_eq!((first.redriven, first.more), (127, true));
    assert_eq!(first.not_reached, ids[127..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_good_for_one_queue() {
    let scene = Scene::start().await;
    let (letters, other) = (scene.plain_queue("letters").await, scene.plain_queue("other").await);
    for text in ["a", "b", "c"] {
        scene.fail(&letters, text).await;
    }
    let first = redrive(&scene, of(&letters, 1, "")).await;
    let token = first.next_page_token;
    assert_eq!((first.redriven, token.is_empty()), (1, false));
    let refuse = async |request: RedriveDeadLettersRequest, reason: &str| {
        let refusal =
            assert_refused(try_redrive(&scene.caller, request).await, Code::InvalidArgument, reason);
        assert_eq!(refusal.fields(), ["page_token"], "{refusal:?}");
    };
    refuse(of(&other, 1, &token), "PAGE_TOKEN_INVALID").await;
    for forged in ["%", "AAAA", &token[..token.len() - 2], &"QUFB".repeat(1 << 10)] {
        refuse(of(&letters, 1, forged), "PAGE_TOKEN_INVALID").await;
    }
    let ids = scene.dead_letters(&letters).await.into_iter().map(|found| found.message_id).collect();
    refuse(RedriveDeadLettersRequest { message_ids: ids, ..of(&letters, 1, &token) }, "REQUEST_INVALID")
        .await;
    // What was purged meanwhile is before the cursor, or no longer stored.
    let purge = v1::PurgeQueueRequest { name: letters.clone(), ..v1::PurgeQueueRequest::default() };
    scene.caller.queues().purge_queue(scene.caller.request(purge)).await.unwrap();
    let after = redrive(&scene, of(&letters, 1, &token)).await;
    assert_eq!((after.redriven, after.skipped, after.more), (0, 0, false));
    // A queue that was created again is another one.
    delete(&scene, &letters).await;
    assert_refused(
        try_redrive(&scene.caller, of(&letters, 1, &token)).await,
        Code::NotFound,
        "QUEUE_NOT_FOUND",
    );
    scene.plain_queue("letters").await;
    refuse(of(&letters, 1, &token), "PAGE_TOKEN_INVALID").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_as_its_own_target_only_frees_what_is_parked_in_it() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let queue = queue(&scene, "q").await;
    scene.fail(&queue, "moved").await;
    let parked = scene.fail(&queue, "parked there").await;
    let first = scene.receive(&letters, 2, LONG).await;
    assert_eq!(text(&first[1]), "parked there");
    scene.settled(&letters, settlement(&first[0], SettleAction::Release)).await;
    scene.settled(&letters, settlement(&first[1], SettleAction::DeadLetter)).await;
    let itself = RedriveDeadLettersRequest { target_queue: letters.clone(), ..of(&letters, 0, "") };
    let answer = redrive(&scene, itself).await;
    assert_eq!((answer.redriven, counts(&answer)), (1, BTreeMap::from([(SkipReason::NotDeadLetter, 1)])));
    assert_eq!(scene.stats(&letters).await.ready, 2);
    assert_ne!(parked, skipped(&answer)[0].0);
    // A target that was deleted meanwhile.
    let target = scene.plain_queue("target").await;
    let to = RedriveDeadLettersRequest { target_queue: target.clone(), ..of(&letters, 0, "") };
    delete(&scene, &target).await;
    assert_refused(try_redrive(&scene.caller, to).await, Code::NotFound, "QUEUE_NOT_FOUND");
    assert_eq!(scene.stats(&letters).await.ready, 2);
}

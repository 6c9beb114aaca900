//! Where a message is, and which are dead letters.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_proto::v1::{
    self, DeadLetterReason, FindMessageRequest, ListDeadLettersRequest, MessageState, SettleAction,
    Settlement, SubscriptionSettings,
};
use posthouse_tests::harness::{
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, granted, settlement, wire},
    site::TAXATION,
    wire::Caller,
};
use tonic::{Code, Status};

async fn find(caller: &Caller, message_id: &str, subscription: &str) -> Result<v1::MessageStatus, Status> {
    let request =
        FindMessageRequest { message_id: message_id.to_owned(), subscription: subscription.to_owned() };
    Ok(caller.messages().find_message(caller.request(request)).await?.into_inner())
}

async fn list(caller: &Caller, request: ListDeadLettersRequest) -> Result<(), Status> {
    caller.messages().list_dead_letters(caller.request(request)).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_in_every_state() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["acked", "leased", "waiting", "parked", "ready"]).await;
    let held = scene.receive(&queue, 4, LONG).await;
    scene.settled(&queue, settlement(&held[0], SettleAction::Ack)).await;
    let nack = Settlement { delay: wire(LONG), ..settlement(&held[2], SettleAction::Nack) };
    scene.settled(&queue, nack).await;
    scene.settled(&queue, settlement(&held[3], SettleAction::DeadLetter)).await;
    let mut ids: Vec<String> = held.iter().map(|held| held.message.as_ref().unwrap().id.clone()).collect();
    let ready = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&ready, SettleAction::Release)).await;
    ids.push(ready.message.unwrap().id);
    for restarted in [false, true] {
        if restarted {
            scene.crash().await;
        }
        let mut found = Vec::new();
        for id in &ids {
            found.push(scene.find(id).await);
        }
        let states: Vec<MessageState> = found.iter().map(v1::MessageStatus::state).collect();
        use MessageState::{Leased, Parked, Ready, Settled, Waiting};
        assert_eq!(states, [Settled, Leased, Waiting, Parked, Ready]);
        for (number, status) in (1..).zip(&found) {
            assert_eq!((status.sequence, &status.queue), (number, &queue));
            assert_eq!(&status.message_id, &ids[usize::try_from(number).unwrap() - 1]);
            assert!(status.publish_time.is_some() && status.dead_letter.is_none());
        }
        assert_eq!(found[1].lease_deadline, held[1].lease_deadline);
        assert!(granted(&held[1], LONG) > 0);
        assert!(found[2].retry_time.is_some());
        assert_eq!((found[2].failed_attempts, found[3].failed_attempts), (1, 0));
        assert_eq!(found[3].parked_reason(), DeadLetterReason::Consumer);
        assert_eq!(found[4].payload_bytes, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_with_their_origins() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let settings =
        SubscriptionSettings { dead_letter_queue: letters.clone(), ..SubscriptionSettings::default() };
    let queue = scene.queue("q", settings).await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(scene.fail(&queue, text).await);
    }
    scene.publish(&letters, &["not a dead letter"]).await;
    let found = scene.dead_letters(&letters).await;
    let origins: Vec<_> = found.iter().map(|found| found.dead_letter.as_ref().unwrap()).collect();
    assert_eq!(
        origins.iter().map(|origin| &origin.source_message_id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    assert!(origins.iter().all(|origin| origin.source_queue == queue));
    assert!(origins.iter().all(|origin| origin.reason() == DeadLetterReason::Consumer));
    assert_eq!(scene.dead_letters(&queue).await, []);
    assert_eq!(scene.find(&ids[1]).await.state(), MessageState::Settled);
    // The state of one message.
    let request = ListDeadLettersRequest {
        queue: letters.clone(),
        source_message_id: ids[1].clone(),
        ..ListDeadLettersRequest::default()
    };
    let page = scene.caller.messages().list_dead_letters(scene.caller.request(request)).await.unwrap();
    assert_eq!(page.into_inner().dead_letters, [found[1].clone()]);
    assert_eq!(scene.find(&found[1].message_id).await, found[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_are_listed_where_they_are() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["ready"]).await;
    let held = scene.receive_one(&queue, LONG).await;
    let parked = scene.fail(&queue, "parked").await;
    let found = scene.dead_letters(&queue).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].message_id, found[0].state()), (&parked, MessageState::Parked));
    scene.settled(&queue, settlement(&held, SettleAction::Ack)).await;
}

/// Ids close to this one, in its queue and in others, of messages that never existed. An id is opaque, but not secret.
fn guesses(id: &str) -> Vec<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(id).unwrap();
    let guess = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    };
    // Department, queue, and twice the sequence: 100 later, and more than there ever are.
    vec![guess(3, 77), guess(7, 77), guess(16, 100), guess(9, 255)]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_a_message_that_exists_looks_like_one_that_does_not() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let parked = scene.fail(&queue, "a").await;
    let foreign = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    let other = scene.scoped("posthouse:manage:civil-affairs/household-registry/other");
    let publishes = scene.scoped("posthouse:publish:civil-affairs/*/*");
    let mut answers: Vec<Refusal> = Vec::new();
    for caller in [&foreign, &other, &publishes] {
        for id in std::iter::once(parked.clone()).chain(guesses(&parked)) {
            let answer = find(caller, &id, "").await;
            answers.push(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"));
            // A subscription makes no difference.
            let answer = find(caller, &id, "none").await;
            answers.push(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"));
        }
        for queue in [&queue, "tenants/civil-affairs/departments/household-registry/queues/none"] {
            let request = ListDeadLettersRequest { queue: queue.to_string(), ..Default::default() };
            let answer = list(caller, request).await;
            answers.push(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all: {answers:?}");
    // With a grant, a message that never existed is refused in the same way.
    let stats = scene.scoped("posthouse:stats:civil-affairs/*/*");
    assert_eq!(find(&stats, &parked, "default").await.unwrap().state(), MessageState::Parked);
    for guess in guesses(&parked) {
        let answer = find(&stats, &guess, "").await;
        assert_eq!(assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING"), answers[0]);
    }
    let answer = find(&stats, &parked, "none").await;
    assert_refused(answer, Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_id_or_a_page_is_refused() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let long = "A".repeat(100_000);
    for id in ["", "x", "not an id", "AAAA", "\u{430}\u{430}", "AAAAAQAAAAEAAAAAAAAAAAAB=", &long] {
        let refusal =
            assert_refused(find(&scene.caller, id, "").await, Code::InvalidArgument, "REQUEST_INVALID");
        assert!(refusal.message.contains("message_id") && refusal.message.len() < 200, "{refusal:?}");
    }
    let request = ListDeadLettersRequest { queue, ..ListDeadLettersRequest::default() };
    let with = |change: fn(&mut ListDeadLettersRequest)| {
        let mut request = request.clone();
        change(&mut request);
        list(&scene.caller, request)
    };
    let invalid = Code::InvalidArgument;
    assert_refused(with(|r| r.page_token = "x".to_owned()).await, invalid, "PAGE_TOKEN_INVALID");
    assert_refused(with(|r| r.page_token = "AAAA".to_owned()).await, invalid, "PAGE_TOKEN_INVALID");
    assert_refused(with(|r| r.page_size = -1).await, invalid, "REQUEST_INVALID");
    assert_refused(with(|r| r.source_message_id = "x".to_owned()).await, invalid, "REQUEST_INVALID");
    assert_refused(with(|r| r.queue = "q".to_owned()).await, invalid, "NAME_INVALID");
}

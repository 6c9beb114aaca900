//! Rights on further resources that a request names (a dead-letter queue, the target of a redrive), and on the queue of
//! a message's id.

use std::{collections::BTreeSet, fs};

use posthouse_proto::v1::{self, RedriveDeadLettersRequest, SettleAction, SubscriptionSettings};
use posthouse_server::policy::{Kind, methods};
use posthouse_tests::harness::{
    eventually,
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, queue_name, settlement},
    site::Site,
    wire::Caller,
};
use tonic::{Code, Status};

fn grant(action: &str, queue: &str) -> String {
    format!("posthouse:{action}:civil-affairs/household-registry/{queue}")
}

fn definition(name: &str, letters: &str) -> v1::Queue {
    let dead_letter_queue = if letters.is_empty() { String::new() } else { queue_name(letters) };
    v1::Queue {
        name: queue_name(name),
        default_subscription: Some(SubscriptionSettings { dead_letter_queue, ..Default::default() }),
        ..Default::default()
    }
}

async fn create(caller: &Caller, name: &str, letters: &str) -> Result<v1::Queue, Status> {
    let request = v1::CreateQueueRequest { queue: Some(definition(name, letters)), ..Default::default() };
    Ok(caller.queues().create_queue(caller.request(request)).await?.into_inner())
}

/// Changes one setting, or all of the subscription's.
async fn update(caller: &Caller, name: &str, letters: &str, path: &str) -> Result<v1::Queue, Status> {
    let request = v1::UpdateQueueRequest {
        queue: Some(definition(name, letters)),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
        ..Default::default()
    };
    Ok(caller.queues().update_queue(caller.request(request)).await?.into_inner())
}

const DEAD_LETTER_QUEUE: &str = "default_subscription.dead_letter_queue";
const SETTINGS: &str = "default_subscription";

fn denied<T: std::fmt::Debug>(answer: Result<T, Status>) -> Refusal {
    assert_refused(answer, Code::PermissionDenied, "GRANT_MISSING")
}

#[tokio::test(flavor = "multi_thread")]
async fn naming_a_dead_letter_queue_needs_a_right_on_it_whether_it_exists_or_not() {
    let scene = Scene::start().await;
    scene.plain_queue("payroll").await;
    scene.plain_queue("mine").await;
    let own = |name: &str| {
        ["manage", "publish", "consume", "dlq", "stats"].map(|action| grant(action, name)).join(" ")
    };
    let mallory = scene.scoped(&format!("{} {}", own("mine"), own("mine-too")));
    let mut refusals = vec![
        denied(create(&mallory, "mine-too", "payroll").await),
        denied(create(&mallory, "mine-too", "notyet0").await),
        denied(update(&mallory, "mine", "payroll", DEAD_LETTER_QUEUE).await),
        denied(update(&mallory, "mine", "notyet0", DEAD_LETTER_QUEUE).await),
        denied(update(&mallory, "mine", "payroll", SETTINGS).await),
        // A queue that exists already: the answer shows nothing of the named one.
        denied(create(&mallory, "mine", "payroll").await),
    ];
    for letters in ["payroll", "notyet0"] {
        let queue = Some(definition("mine-too", letters));
        let only_check = v1::CreateQueueRequest { queue, validate_only: true, ..Default::default() };
        let answer = mallory.queues().create_queue(mallory.request(only_check)).await;
        refusals.push(denied(answer));
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    // The named queue can still get a dead-letter queue of its own.
    scene.plain_queue("payroll-letters").await;
    update(&scene.caller, "payroll", "payroll-letters", DEAD_LETTER_QUEUE).await.unwrap();
    create(&scene.caller, "notyet0", "payroll-letters").await.unwrap();
    // A consume right there, or a right on a queue with the same beginning, is not enough.
    for other in [grant("consume", "letters"), grant("dlq", "*"), grant("publish", "letters-too")] {
        denied(create(&scene.scoped(&format!("{} {other}", own("mine-too"))), "mine-too", "letters").await);
    }
    for (number, right) in ["publish", "manage"].into_iter().enumerate() {
        let name = format!("with-{number}");
        let may = scene.scoped(&format!("{} {}", own(&name), grant(right, "letters")));
        create(&may, &name, "letters").await.unwrap();
        update(&may, &name, "", DEAD_LETTER_QUEUE).await.unwrap();
        update(&may, &name, "letters", DEAD_LETTER_QUEUE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_queue_that_is_named_already_stays_and_can_be_taken_away() {
    let scene = Scene::start().await;
    scene.plain_queue("letters").await;
    create(&scene.caller, "mine", "letters").await.unwrap();
    let owner = scene.scoped(&grant("manage", "mine"));
    update(&owner, "mine", "letters", SETTINGS).await.unwrap();
    let updated = update(&owner, "mine", "", "default_subscription.max_attempts").await.unwrap();
    assert_eq!(updated.default_subscription.unwrap().dead_letter_queue, queue_name("letters"));
    update(&owner, "mine", "", DEAD_LETTER_QUEUE).await.unwrap();
    denied(update(&owner, "mine", "letters", DEAD_LETTER_QUEUE).await);
}

async fn redrive(caller: &Caller, queue: &str, target: &str) -> Result<u64, Status> {
    let target_queue = if target.is_empty() { String::new() } else { queue_name(target) };
    let request = RedriveDeadLettersRequest { queue: queue_name(queue), target_queue, ..Default::default() };
    Ok(caller.messages().redrive_dead_letters(caller.request(request)).await?.into_inner().redriven)
}

async fn list(caller: &Caller, queue: &str) -> Result<usize, Status> {
    let request = v1::ListDeadLettersRequest { queue: queue_name(queue), ..Default::default() };
    Ok(caller.messages().list_dead_letters(caller.request(request)).await?.into_inner().dead_letters.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn dlq_lists_and_redrives_and_opens_nothing_else() {
    let scene = Scene::start().await;
    scene.plain_queue("letters").await;
    scene.plain_queue("other").await;
    create(&scene.caller, "q", "letters").await.unwrap();
    scene.plain_queue("parking").await;
    scene.fail(&queue_name("q"), "a").await;
    scene.fail(&queue_name("q"), "b").await;
    scene.fail(&queue_name("parking"), "c").await;
    // Parked letters become ready in their own queue.
    for named in ["parking", "parking/default", "*/*"] {
        let keeper = scene.scoped(&grant("dlq", named));
        assert_eq!(list(&keeper, "parking").await.unwrap(), 1, "{named}");
    }
    assert_eq!(redrive(&scene.scoped(&grant("dlq", "parking/default")), "parking", "").await.unwrap(), 1);
    denied(list(&scene.scoped(&grant("dlq", "parking/another")), "parking").await);
    // Others go back to their queues, which needs a right there, too.
    let here = scene.scoped(&grant("dlq", "letters"));
    assert_eq!(list(&here, "letters").await.unwrap(), 2);
    denied(redrive(&here, "letters", "").await);
    let both = scene.scoped(&format!("{} {}", grant("dlq", "letters"), grant("dlq", "q")));
    denied(redrive(&both, "letters", "other").await);
    denied(redrive(&both, "letters", "q").await);
    assert_eq!(redrive(&both, "letters", "").await.unwrap(), 2);
    create(&scene.caller, "another", "letters").await.unwrap();
    scene.fail(&queue_name("another"), "d").await;
    let publisher = scene.scoped(&format!("{} {}", grant("dlq", "letters"), grant("publish", "other")));
    assert_eq!(redrive(&publisher, "letters", "other").await.unwrap(), 1);
    let request = v1::GetQueueRequest { name: queue_name("q") };
    denied(both.queues().get_queue(both.request(request)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_messages_id_tells_nothing_of_a_queue_without_a_grant() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.plain_queue("other").await;
    scene.publish(&queue, &["a"]).await;
    let delivery = scene.receive_one(&queue, LONG).await;
    scene.settled(&queue, settlement(&delivery, SettleAction::Release)).await;
    let id = delivery.message.unwrap().id;
    let find = async |caller: &Caller, message_id: &str| {
        let request = v1::FindMessageRequest { message_id: message_id.to_owned(), ..Default::default() };
        caller.messages().find_message(caller.request(request)).await
    };
    for scope in [
        grant("stats", "q"),
        grant("manage", "*"),
        format!("{} {}", grant("stats", "a"), grant("manage", "q")),
    ] {
        let found = find(&scene.scoped(&scope), &id).await.unwrap().into_inner();
        assert_eq!((found.queue, found.sequence), (queue.clone(), 1), "{scope}");
    }
    // Of a queue without a grant, of one of another department, of one that never existed.
    let missing = id.replacen(|c: char| c.is_ascii_alphanumeric(), "B", 1);
    let mut refusals = Vec::new();
    for scope in [
        grant("stats", "other"),
        grant("publish", "q"),
        grant("stats", "q/default"),
        "posthouse:stats:civil-affairs/identity-cards/*".to_owned(),
    ] {
        refusals.push(denied(find(&scene.scoped(&scope), &id).await));
        let answer = find(&scene.scoped(&scope), &missing).await;
        if answer.as_ref().is_err_and(|status| status.code() == Code::PermissionDenied) {
            refusals.push(denied(answer));
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
}

/// The methods are read from the table: a new one that is not called here fails this test.
#[tokio::test(flavor = "multi_thread")]
async fn every_changing_method_is_recorded() {
    let scene =
        Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\nrecords = \"changes\"\n")).await;
    create(&scene.caller, "q", "").await.unwrap();
    update(&scene.caller, "q", "letters", DEAD_LETTER_QUEUE).await.unwrap();
    let name = queue_name("q");
    redrive(&scene.caller, "q", "").await.unwrap();
    let purge = v1::PurgeQueueRequest { name: name.clone(), ..Default::default() };
    scene.caller.queues().purge_queue(scene.caller.request(purge)).await.unwrap();
    let delete = v1::DeleteQueueRequest { name, ..Default::default() };
    scene.caller.queues().delete_queue(scene.caller.request(delete)).await.unwrap();

    let changes = methods::TABLE.iter().filter(|method| method.kind == Kind::Change);
    let changes: BTreeSet<String> = changes.map(|method| method.name().to_owned()).collect();
    assert!(changes.len() >= 5, "{changes:?}");
    let path = scene.site.path("access.jsonl");
    let recorded = || async {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let records = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let changed = records.filter(|record| record["action"] == "manage");
        let methods: BTreeSet<String> =
            changed.filter_map(|record| Some(record["method"].as_str()?.to_owned())).collect();
        (methods == changes).then_some(())
    };
    eventually("a record of every changing method", recorded).await;
}

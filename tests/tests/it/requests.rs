//! Changes that are asked for with an id: made once, however often they are asked for.

use posthouse_proto::v1::{self, Queue, SettleAction, SubscriptionSettings};
use posthouse_tests::harness::{
    binaries, eventually,
    refusal::assert_refused,
    relay::Relay,
    scene::{LONG, Scene, queue_name, settlement, text},
    site::{CIVIL, Credentials, Site, TAXATION},
    wire::Caller,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

const REUSED: (Code, &str) = (Code::InvalidArgument, "REQUEST_ID_REUSED");

async fn create(caller: &Caller, name: &str, attempts: u32, id: &str) -> Result<Queue, Status> {
    let settings = SubscriptionSettings { max_attempts: attempts, ..SubscriptionSettings::default() };
    let queue = Queue { name: name.to_owned(), default_subscription: Some(settings), ..Queue::default() };
    let request =
        v1::CreateQueueRequest { queue: Some(queue), request_id: id.to_owned(), validate_only: false };
    Ok(caller.queues().create_queue(caller.request(request)).await?.into_inner())
}

fn update_of(name: &str, attempts: u32, etag: &str, id: &str) -> v1::UpdateQueueRequest {
    let settings = SubscriptionSettings { max_attempts: attempts, ..SubscriptionSettings::default() };
    let (name, etag) = (name.to_owned(), etag.to_owned());
    let queue = Queue { name, etag, default_subscription: Some(settings), ..Queue::default() };
    v1::UpdateQueueRequest {
        queue: Some(queue),
        update_mask: Some(FieldMask { paths: vec!["default_subscription.max_attempts".to_owned()] }),
        request_id: id.to_owned(),
        validate_only: false,
    }
}

async fn update(caller: &Caller, request: v1::UpdateQueueRequest) -> Result<Queue, Status> {
    Ok(caller.queues().update_queue(caller.request(request)).await?.into_inner())
}

async fn delete(caller: &Caller, name: &str, etag: &str, id: &str) -> Result<(), Status> {
    let (name, etag, request_id) = (name.to_owned(), etag.to_owned(), id.to_owned());
    let request = v1::DeleteQueueRequest { name, etag, request_id, validate_only: false };
    caller.queues().delete_queue(caller.request(request)).await.map(drop)
}

async fn purge(caller: &Caller, name: &str, id: &str) -> Result<u64, Status> {
    let (name, request_id) = (name.to_owned(), id.to_owned());
    let request = v1::PurgeQueueRequest { name, request_id, validate_only: false };
    Ok(caller.queues().purge_queue(caller.request(request)).await?.into_inner().purged)
}

async fn redrive(
    caller: &Caller,
    queue: &str,
    most: u32,
    id: &str,
) -> Result<v1::RedriveDeadLettersResponse, Status> {
    let request = v1::RedriveDeadLettersRequest {
        queue: queue.to_owned(),
        max_messages: most,
        request_id: id.to_owned(),
        ..v1::RedriveDeadLettersRequest::default()
    };
    Ok(caller.messages().redrive_dead_letters(caller.request(request)).await?.into_inner())
}

/// A caller of the tenant [`CIVIL`] with another subject.
async fn another(site: &Site) -> Caller {
    let mut credentials = site.credentials(CIVIL);
    let mut claims = site.claims(CIVIL, &credentials.certificate);
    claims.sub = "somebody else".to_owned();
    credentials.token = site.mint(CIVIL, &claims);
    Caller::connect(site, &credentials).await
}

/// Every change that was made with an id, and what it was answered.
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
    // Messages, settings and etag are others now; nothing of it is done again.
    scene.publish(&queue, &["three"]).await;
    update(&scene.caller, update_of(&queue, 9, "", "")).await.unwrap();
    assert_eq!(ask(&scene.caller).await, answers);
    assert_eq!((scene.stats(&queue).await.ready, scene.stats(&letters).await.parked), (1, 2));
    delete(&scene.caller, &queue, "3", "delete").await.unwrap();
    scene.crash().await;
    // The queue is gone, and then there is another one of its name.
    for made_anew in [false, true] {
        if made_anew {
            create(&scene.caller, &queue, 5, "anew").await.unwrap();
            scene.publish(&queue, &["four"]).await;
        }
        assert_eq!(ask(&scene.caller).await, answers);
        delete(&scene.caller, &queue, "3", "delete").await.unwrap();
    }
    assert_eq!((scene.stats(&queue).await.ready, scene.stats(&letters).await.parked), (1, 2));
    // With the queue of the dead letters gone too.
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
    // Also of the same method with anything else in it, and also when the queue is not there.
    purge(&scene.caller, &queue, "purge").await.unwrap();
    assert_refused(purge(&scene.caller, &queue_name("other"), "purge").await, REUSED.0, REUSED.1);
    update(&scene.caller, update_of(&queue, 7, "", "update")).await.unwrap();
    let with_etag = update(&scene.caller, update_of(&queue, 7, "1", "update")).await;
    assert_refused(with_etag, REUSED.0, REUSED.1);
    // It is nothing to another subject, nor to another tenant.
    let other = another(&scene.site).await;
    assert_refused(create(&other, &queue, 5, "id").await, Code::AlreadyExists, "QUEUE_ALREADY_EXISTS");
    scene.publish(&queue, &["two"]).await;
    assert_eq!(purge(&other, &queue, "purge").await.unwrap(), 1);
    let foreign = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    assert_refused(create(&foreign, &queue, 5, "id").await, Code::PermissionDenied, "GRANT_MISSING");
    // Who has lost the right is not told what was done with it.
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
    // So it is with the queue that dead letters are to go to.
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
    // Whether they are still there or not, and whether the letters went back or stayed.
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
    // What only the server says is no part of it, and what it filled in was asked for.
    for same in [&made, &Queue { stats, ..made.clone() }, &asked] {
        assert_eq!(create(same).await.unwrap(), made);
    }
    let other = Queue { max_message_bytes: made.max_message_bytes - 1, ..made.clone() };
    assert_refused(create(&other).await, REUSED.0, REUSED.1);
    // Of an update, the etag is a condition, and the rest is not.
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
    // Of what was done, a check says nothing either.
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
    // One more, and it is new again.
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
    // An etag that is not the current one is refused, older or newer: one to come would let a change be lost.
    update(&scene.caller, update_of(&queue, 7, "1", "")).await.unwrap();
    for etag in ["1", "3"] {
        let answer = update(&scene.caller, lease(60, etag)).await;
        assert_refused(answer, Code::Aborted, "ETAG_MISMATCH");
    }
    // A hundred changes at once, each of one of two fields and by the next etags: none undoes another.
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

/// A way to the server on which the next answer is lost.
struct Lossy {
    scene: Scene,
    relay: Relay,
    credentials: Credentials,
}

impl Lossy {
    async fn start() -> Self {
        let scene = Scene::start().await;
        let relay = Relay::to(scene.site.listen()).await;
        let credentials = scene.site.credentials(CIVIL);
        Self { scene, relay, credentials }
    }

    /// Runs a command whose first answer is lost once the change is to be seen; what it wrote, and how it ended.
    async fn run(&self, arguments: &[&str], is_done: impl AsyncFn(&Scene) -> bool) -> (Option<i32>, String) {
        let context = self.scene.site.write_context_to(CIVIL, &self.credentials, self.relay.address());
        let accepted = self.relay.accepted();
        self.relay.lose_the_next_answers();
        let child = tokio::process::Command::new(binaries::posthouse())
            .arg("--context")
            .arg(context)
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the change", async || is_done(&self.scene).await.then_some(())).await;
        self.relay.cut();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(self.relay.accepted(), accepted + 2, "the command did not come again");
        let told = String::from_utf8(output.stdout).unwrap();
        println!("{arguments:?}: {:?} {told}{}", output.status, String::from_utf8_lossy(&output.stderr));
        (output.status.code(), told)
    }
}

async fn exists(scene: &Scene, queue: &str) -> bool {
    let request = scene.caller.request(v1::GetQueueRequest { name: queue_name(queue) });
    scene.caller.queues().get_queue(request).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_answer_was_lost_ends_well() {
    let lossy = Lossy::start().await;
    let name = "household-registry/q";
    let ended = lossy.run(&["queue", "create", name], async |scene| exists(scene, "q").await).await;
    assert_eq!(ended, (Some(0), format!("{}\n", queue_name("q"))));

    let queue = queue_name("q");
    let attempts = async |scene: &Scene| {
        let request = scene.caller.request(v1::GetQueueRequest { name: queue_name("q") });
        let queue = scene.caller.queues().get_queue(request).await.unwrap().into_inner();
        queue.default_subscription.unwrap().max_attempts == 3
    };
    let update = ["queue", "update", name, "--max-attempts", "3", "--etag", "1"];
    let (code, told) = lossy.run(&update, attempts).await;
    assert!(code == Some(0) && told.contains("\"etag\": \"2\""), "{code:?} {told}");

    let scene = &lossy.scene;
    scene.publish(&queue, &["one", "two"]).await;
    let empty = async |scene: &Scene| scene.stats(&queue_name("q")).await.ready == 0;
    let ended = lossy.run(&["queue", "purge", name], empty).await;
    assert_eq!(ended, (Some(0), "{\"purged\": 2}\n".to_owned()));

    for text in ["a", "b"] {
        scene.fail(&queue, text).await;
    }
    let one_left = async |scene: &Scene| scene.stats(&queue_name("q")).await.parked == 1;
    let ended = lossy.run(&["dead-letters", "redrive", name, "--max", "1"], one_left).await;
    assert_eq!(ended, (Some(0), "{\"redriven\": 1, \"skipped\": 0}\n".to_owned()));
    assert_eq!(scene.stats(&queue).await.parked, 1, "the repeat moved nothing");
    let held = scene.receive_one(&queue, LONG).await;
    assert_eq!(text(&held), "a");
    scene.settled(&queue, settlement(&held, SettleAction::Ack)).await;

    let gone = async |scene: &Scene| !exists(scene, "q").await;
    let ended = lossy.run(&["queue", "delete", name], gone).await;
    assert_eq!(ended, (Some(0), String::new()));
}

//! A department that is set aside: nothing of it is read or changed, and the others of its shard go on.

use std::time::Duration;

use posthouse_engine::{
    ids::{DEFAULT_LANE, DepartmentId, QueueId, QueueRef},
    keys::{HeadKey, Key as _},
    kv::{Family, Write},
    message_id,
};
use posthouse_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, FindMessageRequest, GetQueueRequest, ListDeadLettersRequest,
    ListQueuesRequest, NewMessage, PublishRequest, PurgeQueueRequest, Queue, ReceiveRequest,
    RedriveDeadLettersRequest, SettleAction, SettleRequest, UpdateQueueRequest,
};
use posthouse_server::store::{Store, StoreOptions};
use posthouse_tests::harness::{
    eventually,
    log::append,
    probe,
    publishing::{PublishStream, open as open_publish},
    refusal::assert_refused,
    scene::{LONG, Scene, message, settlement, text},
    site::CIVIL,
    stream::{Stream, open as open_consume},
};
use tonic::Code;

use super::{Two, refused, skip, skipped, start, stop, stopped, store};

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_halts_its_shard_and_is_skipped_and_the_other_department_goes_on() {
    let (mut scene, two) = stopped().await;
    let data = scene.site.data();
    let entry = append(&data, two.shard, &[two.malformed()]).remove(0);
    let command = format!("posthouse store skip {} {} --digest {}", two.shard.0, entry.index, entry.digest);
    let other = Two::queue(&two.other);

    // Server and check report what can be done.
    start(&mut scene).await;
    let publish =
        PublishRequest { queue: other.clone(), messages: vec![message("x")], ..PublishRequest::default() };
    let halted = scene.caller.publisher().publish(scene.caller.request(publish)).await;
    assert_refused(halted, Code::Unavailable, "SHARD_HALTED");
    assert!(scene.server.log().contains(&command), "{}", scene.server.log());
    assert!(scene.server.log().contains("malformed"), "{}", scene.server.log());
    let metrics = probe::scrape(scene.site.management()).await;
    assert_eq!(probe::value(&metrics, "posthouse_shards_halted{reason=\"malformed\"}"), 1.0, "{metrics}");
    assert_eq!(probe::sum(&metrics, "posthouse_shards_halted"), 1.0);
    let ready = probe::get(scene.site.management(), "/readyz").await.unwrap();
    assert!(ready.status == 200 && ready.body.contains("(malformed 1)"), "{ready:?}");
    let (code, _, errors) = skip(&data, two.shard.0, entry.index, &entry.digest);
    assert!(code == 75 && errors.contains("a server runs on"), "{code}: {errors}");
    stop(&mut scene).await;
    let (code, printed, _) = store(&["check", data.to_str().unwrap()]);
    assert!(code == 65 && printed.contains(&command), "{printed}");

    let printed = skipped(&data, two.shard, &entry);
    let department = format!("tenants/{CIVIL}/departments/{}", two.named.0);
    assert!(printed.contains(&department) && printed.contains("start the server"), "{printed}");
    let (code, printed, errors) = store(&["check", data.to_str().unwrap()]);
    assert_eq!(code, 0, "{printed}{errors}");
    assert!(
        printed.contains("is set aside") && printed.contains("a test") && printed.contains(&entry.digest),
        "{printed}"
    );

    // A second skip, with the beginning of the digest, is done already.
    let (code, printed, errors) = skip(&data, two.shard.0, entry.index, &entry.digest[..16].to_uppercase());
    assert!(
        code == 0 && printed.contains("it is done already") && printed.contains("a test"),
        "{code} {printed} {errors}"
    );

    start(&mut scene).await;
    set_aside(&scene, &two).await;
    scene.publish(&other, &["after"]).await;
    let both = scene.receive(&other, 2, LONG).await;
    assert_eq!(both.iter().map(text).collect::<Vec<_>>(), ["before", "after"]);
    scene.settled(&other, settlement(&both[0], SettleAction::Ack)).await;

    // It stays set aside after crashes.
    for _ in 0..2 {
        scene.crash().await;
        set_aside(&scene, &two).await;
        scene.publish(&other, &["more"]).await;
    }
    stop(&mut scene).await;
    let (code, printed, errors) = store(&["reopen", &department, "--data-dir", data.to_str().unwrap()]);
    assert_eq!((code, &*errors), (0, ""), "{printed}");
    assert!(printed.contains("is open again") && printed.contains("a test"), "{printed}");
    let name = format!("{CIVIL}/{}", two.named.0);
    let (code, printed, _) = store(&["reopen", &name, "--data-dir", data.to_str().unwrap()]);
    assert!(code == 0 && printed.contains("is not set aside"), "{printed}");

    start(&mut scene).await;
    let metrics = probe::scrape(scene.site.management()).await;
    assert_eq!(probe::value(&metrics, "posthouse_departments_set_aside"), 0.0);
    let named = Two::queue(&two.named.0);
    assert_eq!(text(&scene.receive_one(&named, LONG).await), "before");
    scene.publish(&named, &["after"]).await;
    assert_eq!(text(&scene.receive_one(&named, LONG).await), "after");
}

/// Fails unless nothing of the department is read or changed, and operators can see that it is set aside.
async fn set_aside(scene: &Scene, two: &Two) {
    let (caller, name) = (&scene.caller, Two::queue(&two.named.0));
    let reason = "DEPARTMENT_SET_ASIDE";
    macro_rules! refused {
        ($service:ident . $method:ident ($request:expr)) => {
            let answer = caller.$service().$method(caller.request($request)).await;
            assert_refused(answer.map(drop), Code::FailedPrecondition, reason);
        };
    }
    let queue = || Some(Queue { name: name.clone(), ..Queue::default() });
    let fresh = Queue { name: format!("{name}-2"), ..Queue::default() };
    refused!(queues.create_queue(CreateQueueRequest { queue: Some(fresh), ..Default::default() }));
    refused!(queues.get_queue(GetQueueRequest { name: name.clone() }));
    let parent = name.strip_suffix("/queues/q").unwrap().to_owned();
    refused!(queues.list_queues(ListQueuesRequest { parent, ..Default::default() }));
    let update_mask = Some(prost_types::FieldMask { paths: vec!["max_message_bytes".to_owned()] });
    refused!(queues.update_queue(UpdateQueueRequest { queue: queue(), update_mask, ..Default::default() }));
    refused!(queues.delete_queue(DeleteQueueRequest { name: name.clone(), ..Default::default() }));
    refused!(queues.purge_queue(PurgeQueueRequest { name: name.clone(), ..Default::default() }));
    let messages: Vec<NewMessage> = vec![message("x")];
    refused!(publisher.publish(PublishRequest { queue: name.clone(), messages, ..Default::default() }));
    refused!(consumer.receive(ReceiveRequest { queue: name.clone(), max_messages: 1, ..Default::default() }));
    refused!(consumer.settle(SettleRequest { queue: name.clone(), ..Default::default() }));
    refused!(
        messages.list_dead_letters(ListDeadLettersRequest { queue: name.clone(), ..Default::default() })
    );
    refused!(
        messages
            .redrive_dead_letters(RedriveDeadLettersRequest { queue: name.clone(), ..Default::default() })
    );
    let queue = QueueRef { department: DepartmentId(two.named.1), queue: QueueId(1) };
    let message_id = message_id::encode(queue, DEFAULT_LANE, 1);
    refused!(
        messages.find_message(FindMessageRequest { message_id: message_id.clone(), ..Default::default() })
    );
    // A caller without a grant for it does not learn that it is set aside.
    let elsewhere = scene.scoped(&format!("posthouse:stats:{CIVIL}/{}/*", two.other));
    let find = FindMessageRequest { message_id, ..Default::default() };
    let denied = elsewhere.messages().find_message(elsewhere.request(find)).await;
    assert_refused(denied.map(drop), Code::PermissionDenied, "GRANT_MISSING");
    let stream = Stream::try_open(caller, open_consume(&name, [1; 16], 1)).await.err().unwrap();
    assert_refused(Err::<(), _>(stream), Code::FailedPrecondition, reason);
    let stream = PublishStream::try_open(caller, open_publish(&name, None)).await.err().unwrap();
    assert_refused(Err::<(), _>(stream), Code::FailedPrecondition, reason);
    let metrics = probe::scrape(scene.site.management()).await;
    assert_eq!(probe::value(&metrics, "posthouse_departments_set_aside"), 1.0);
    assert_eq!(probe::sum(&metrics, "posthouse_shards_halted"), 0.0);
    let ready = probe::get(scene.site.management(), "/readyz").await.unwrap();
    assert!(ready.status == 200 && ready.body.contains("departments set aside: 1"), "{ready:?}");
    assert!(scene.server.log().contains("a department is set aside"), "{}", scene.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_meanwhile_happens_when_it_is_open_again() {
    let (mut scene, two) = stopped().await;
    let (data, named) = (scene.site.data(), Two::queue(&two.named.0));
    start(&mut scene).await;
    let leased = scene.receive_one(&named, Duration::from_secs(1)).await;
    scene.server.kill();
    let found = append(&data, two.shard, &[two.malformed()]).remove(0);
    skipped(&data, two.shard, &found);
    // The lease ends while the department is set aside: the shard's timer neither halts the shard nor is lost.
    start(&mut scene).await;
    scene.publish(&Two::queue(&two.other), &["x"]).await;
    let short = scene.receive(&Two::queue(&two.other), 2, Duration::from_secs(1)).await.len();
    assert!(short > 0);
    eventually("the end of the other's lease", async || {
        (scene.receive_now(&Two::queue(&two.other), 10).await.len() >= short).then_some(())
    })
    .await;
    stop(&mut scene).await;
    let department = format!("{CIVIL}/{}", two.named.0);
    let (code, printed, errors) = store(&["reopen", &department, "--data-dir", data.to_str().unwrap()]);
    assert_eq!((code, &*errors), (0, ""), "{printed}");
    start(&mut scene).await;
    let again = scene.receive_one(&named, LONG).await;
    assert_eq!(
        (text(&again), again.attempt),
        (text(&leased), leased.attempt),
        "no leader was there: it counts no attempt"
    );
    scene.settled(&named, settlement(&again, SettleAction::Ack)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_department_whose_rows_do_not_fit_together_is_opened_by_force_only() {
    let (mut scene, two) = stopped().await;
    let data = scene.site.data();
    let found = append(&data, two.shard, &[two.malformed()]).remove(0);
    skipped(&data, two.shard, &found);
    // Damage as a bug may have left it.
    let queue = QueueRef { department: DepartmentId(two.named.1), queue: QueueId(1) };
    let rows = Store::open(&data.join("store"), &StoreOptions::default()).unwrap();
    rows.write(&[Write::Delete { family: Family::State, key: HeadKey { queue }.encode() }]).unwrap();
    rows.flush().unwrap();
    drop(rows);

    // It harms no other department while this one is set aside.
    start(&mut scene).await;
    set_aside(&scene, &two).await;
    scene.publish(&Two::queue(&two.other), &["after"]).await;
    stop(&mut scene).await;
    let (name, dir) = (format!("{CIVIL}/{}", two.named.0), data.to_str().unwrap());
    let why = ["do not fit together", "no head", "--force", "nothing was changed"];
    refused(&data, &["reopen", &name, "--data-dir", dir], 65, &why);
    let (code, printed, errors) = store(&["reopen", &name, "--force", "--data-dir", dir]);
    assert!(
        code == 0 && printed.contains("is open again") && printed.contains("no head"),
        "{printed}{errors}"
    );
    start(&mut scene).await;
    let publish = PublishRequest {
        queue: Two::queue(&two.named.0),
        messages: vec![message("x")],
        ..Default::default()
    };
    let halted = scene.caller.publisher().publish(scene.caller.request(publish)).await;
    assert_refused(halted, Code::Unavailable, "SHARD_HALTED");
}

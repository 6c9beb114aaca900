//! Names that are malformed, and names of what does not exist.

use posthouse_proto::v1::{self, publish_stream_request::Frame};
use posthouse_tests::harness::{
    publishing::{self, PublishStream},
    refusal::{Refusal, assert_refused},
    scene::{Scene, message, queue_name},
    stream::{Stream, open},
    wire::Caller,
};
use tonic::{Code, Status};

use super::{assert_serves, assert_short};

/// How every method answers for a queue of this name, with the field that has the name.
async fn all(caller: &Caller, queue: &str) -> Vec<(&'static str, Status)> {
    let name = || queue.to_owned();
    let definition = || Some(v1::Queue { name: name(), ..v1::Queue::default() });
    let mask = Some(prost_types::FieldMask { paths: vec!["max_message_bytes".to_owned()] });
    let mut found = Vec::new();
    let mut add = |field, status| found.push((field, status));
    macro_rules! call {
        ($field:literal, $client:ident, $method:ident, $request:expr) => {
            add($field, caller.$client().$method(caller.request($request)).await.unwrap_err())
        };
    }
    if name() != queue_name("missing") {
        let request = v1::CreateQueueRequest { queue: definition(), ..Default::default() };
        call!("queue.name", queues, create_queue, request);
    }
    call!("name", queues, get_queue, v1::GetQueueRequest { name: name() });
    let request = v1::UpdateQueueRequest { queue: definition(), update_mask: mask, ..Default::default() };
    call!("queue.name", queues, update_queue, request);
    call!("name", queues, delete_queue, v1::DeleteQueueRequest { name: name(), ..Default::default() });
    call!("name", queues, purge_queue, v1::PurgeQueueRequest { name: name(), ..Default::default() });
    let messages = vec![message("a")];
    call!("queue", publisher, publish, v1::PublishRequest { queue: name(), messages, ..Default::default() });
    let first = Frame::Open(publishing::open(queue, None));
    let mut stream = PublishStream::begin(caller, first).await.unwrap();
    add("queue", stream.end().await.unwrap_err());
    let request = v1::ReceiveRequest { queue: name(), max_messages: 1, ..Default::default() };
    call!("queue", consumer, receive, request);
    let settlements = vec![v1::Settlement { token: vec![1; 20].into(), action: 1, delay: None }];
    call!("queue", consumer, settle, v1::SettleRequest { queue: name(), settlements, ..Default::default() });
    let tokens = vec![vec![1; 20].into()];
    let request = v1::ExtendLeasesRequest { queue: name(), tokens, ..Default::default() };
    call!("queue", consumer, extend_leases, request);
    add("queue", Stream::try_open(caller, open(queue, [1; 16], 1)).await.err().unwrap());
    found
}

fn bad_segments() -> Vec<String> {
    let mut segments: Vec<String> =
        ["", ".", "..", "a.b", "A", "q ", "q%20", "%71", "a_b", "*", "a\\b", "q?x", "q#"]
            .map(str::to_owned)
            .into();
    // Control characters, Cyrillic а, full-width ａ, no-break space, zero-width space, right-to-left override, soft
    // hyphen, an accent that combines, and letters that are not in ASCII at all.
    let signs = "\0\t\n\r\u{1b}\u{7f}\u{85}\u{430}\u{ff41}\u{a0}\u{200b}\u{202e}\u{ad}\u{301}ß驿";
    segments.extend(signs.chars().map(|sign| format!("q{sign}")));
    segments.extend([64, 255, 64 << 10].map(|length| "q".repeat(length)));
    segments.push("\n".repeat(64 << 10));
    segments
}

#[track_caller]
fn assert_bad_name(status: Status, field: &str, name: &str) -> Refusal {
    let refusal = assert_refused(Err::<(), _>(status), Code::InvalidArgument, "NAME_INVALID");
    assert_eq!(refusal.fields(), [field], "{refusal:?}");
    assert_short(&refusal);
    assert!(refusal.message.is_ascii(), "{refusal:?} for {:?}", name.chars().take(100));
    refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_name_is_refused_by_every_method() {
    let scene = Scene::start().await;
    for segment in ["", "..", "Q", "q%20", "\u{430}pplications", "q\r\nx: y", &"q".repeat(64 << 10)] {
        let name = queue_name(segment);
        let answers = all(&scene.caller, &name).await;
        assert_eq!(answers.len(), 11);
        for (field, status) in answers {
            assert_bad_name(status, field, &name);
        }
    }
    let log = scene.server.log();
    assert!(!log.contains('\u{430}') && !log.contains("\nx: y") && log.len() < 64 << 10, "{log}");
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_name_is_refused_wherever_it_stands() {
    let scene = Scene::start().await;
    let get = async |name: &str| {
        let request = v1::GetQueueRequest { name: name.to_owned() };
        scene.caller.queues().get_queue(scene.caller.request(request)).await.unwrap_err()
    };
    for segment in bad_segments() {
        for name in [
            queue_name(&segment),
            format!("tenants/{segment}/departments/d/queues/q"),
            format!("tenants/t/departments/{segment}/queues/q"),
        ] {
            assert_bad_name(get(&name).await, "name", &name);
        }
        let request = v1::ListQueuesRequest {
            parent: format!("tenants/t/departments/{segment}"),
            ..Default::default()
        };
        let status = scene.caller.queues().list_queues(scene.caller.request(request)).await.unwrap_err();
        assert_refused(Err::<(), _>(status), Code::InvalidArgument, "NAME_INVALID");
        if !segment.is_empty() {
            let mut first = open(&queue_name("q"), [1; 16], 1);
            first.subscription.clone_from(&segment);
            let status = Stream::try_open(&scene.caller, first).await.err().unwrap();
            assert_bad_name(status, "subscription", &segment);
        }
    }
    let whole = queue_name("q");
    for name in [
        String::new(),
        "q".to_owned(),
        format!("{whole}/"),
        format!("/{whole}"),
        format!("{whole}/subscriptions/default"),
        whole.replace('/', "//"),
        whole.replace('/', "%2F"),
        whole.replace('/', "\u{2215}"),
        whole.replace("queues", "Queues"),
        whole.replace("tenants/", ""),
        "tenants/".repeat(8 << 10),
    ] {
        assert_bad_name(get(&name).await, "name", &name);
    }
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found() {
    let scene = Scene::start().await;
    for (_, status) in all(&scene.caller, &queue_name("missing")).await {
        assert_refused(Err::<(), _>(status), Code::NotFound, "QUEUE_NOT_FOUND");
    }
    let department = queue_name("q").replace("household-registry", "household-registrx");
    for (_, status) in all(&scene.caller, &department).await {
        assert_refused(Err::<(), _>(status), Code::NotFound, "DEPARTMENT_NOT_FOUND");
    }
    // The answer does not show whether another tenant exists.
    for (_, status) in all(&scene.caller, &queue_name("q").replace("civil-affairs", "nobody")).await {
        assert_refused(Err::<(), _>(status), Code::PermissionDenied, "GRANT_MISSING");
    }
    let queue = scene.plain_queue("q").await;
    let mut first = open(&queue, [1; 16], 1);
    first.subscription = "audit".to_owned();
    let status = Stream::try_open(&scene.caller, first).await.err().unwrap();
    assert_refused(Err::<(), _>(status), Code::NotFound, "SUBSCRIPTION_NOT_FOUND");
    assert_serves(&scene).await;
}

//! Access records: who did what, by ids; and the log as JSON.

use std::{collections::BTreeSet, fs, time::Duration};

use posthouse::dev::{authority::Leaf, spiffe_id};
use posthouse_proto::v1::{self, SettleAction};
use posthouse_tests::harness::{
    eventually, raw,
    scene::{LONG, Scene, message, settlement},
    site::{CIVIL, Credentials, Site, TAXATION},
    stream::{Stream, open},
    wire::Caller,
};
use serde_json::Value;

const CANARY: &str = "canary-7f3b0c55";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The records of one kind in the file, once there are `count` of them.
async fn records(site: &Site, action: &str, count: usize) -> Vec<Value> {
    let path = site.path("access.jsonl");
    let found = || async {
        let text = fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))?;
        let found: Vec<Value> = lines(&text).into_iter().filter(|r| r["action"] == action).collect();
        Some(found).filter(|found| found.len() >= count)
    };
    let found = eventually(&format!("{count} records of {action}"), found).await;
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_message_is_recorded_by_ids() {
    let scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &[CANARY, "b", "c"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 2)).await;
    let deliveries = stream.deliveries(2).await;
    let third = scene.receive(&queue, 1, LONG).await;
    scene.settled(&queue, settlement(&deliveries[0], SettleAction::Ack)).await;
    scene.settled(&queue, settlement(&deliveries[1], SettleAction::Nack)).await;
    drop(third);
    let stranger = scene.caller.with_token(None);
    let request = v1::GetQueueRequest { name: queue.clone() };
    stranger.queues().get_queue(stranger.request(request)).await.unwrap_err();

    let published = records(&scene.site, "publish", 1).await.remove(0);
    assert_eq!((&published["queue"], &published["count"]), (&Value::from(queue.clone()), &3.into()));
    assert_eq!(published["sequences"], Value::from(vec!["1-3"]));
    assert_eq!(published["tenant"], CIVIL);
    let certificate = scene.credentials.certificate.thumbprint().unwrap();
    assert_eq!(published["x5t#S256"], certificate);
    assert!(published["subject"].as_str().unwrap().starts_with("spiffe://"), "{published}");
    assert!(published["token_id"].is_string() && published["time"].as_str().unwrap().ends_with('Z'));

    let settled = records(&scene.site, "settle", 2).await;
    assert!(
        settled[0]["settled"]["ack"].is_array() && settled[1]["settled"]["nack"].is_array(),
        "{settled:?}"
    );
    // The nacked message may have been delivered to the stream again; the file is complete by now.
    let text = fs::read_to_string(scene.site.path("access.jsonl")).unwrap();
    let delivered: Vec<Value> = lines(&text).into_iter().filter(|r| r["action"] == "deliver").collect();
    let leases: BTreeSet<String> =
        delivered.iter().flat_map(|r| r["leases"].as_array().unwrap()).map(Value::to_string).collect();
    assert!(!leases.is_empty() && delivered.iter().all(|r| r["subscription"] == "default"), "{delivered:?}");

    let changed = records(&scene.site, "manage", 1).await.remove(0);
    assert_eq!(changed["method"], "posthouse.v1.Queues/CreateQueue");
    assert_eq!((&changed["queue"], &changed["outcome"]), (&Value::from(queue.clone()), &"OK".into()));
    let refused = records(&scene.site, "refused", 1).await.remove(0);
    assert_eq!(
        (&refused["outcome"], &refused["reason"]),
        (&"UNAUTHENTICATED".into(), &"TOKEN_MISSING".into())
    );
    // The certificate alone identifies the caller.
    assert_eq!((&refused["tenant"], &refused["x5t#S256"]), (&CIVIL.into(), &certificate.into()));
    assert!(refused["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");

    let signature = scene.credentials.token.rsplit('.').next().unwrap();
    for secret in [CANARY, "about ", signature] {
        assert!(!text.contains(secret), "a record has {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_recorded_batch_by_batch_and_a_crash_leaves_whole_lines() {
    let mut scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..20 {
        scene.publish(&queue, &["a"]).await;
    }
    records(&scene.site, "publish", 20).await;
    scene.crash().await;
    scene.publish(&queue, &["b"]).await;
    let published = records(&scene.site, "publish", 21).await;
    assert_eq!(published[20]["sequences"], Value::from(vec!["21"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_changes_and_refusals_are_in_the_log() {
    let scene = Scene::on(Site::with_sections("[log]\nformat = \"json\"\n")).await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &[CANARY]).await;
    let stranger = scene.caller.with_token(Some(CANARY));
    let request = v1::PurgeQueueRequest { name: queue.clone(), ..Default::default() };
    stranger.queues().purge_queue(stranger.request(request)).await.unwrap_err();

    let log = lines(&scene.server.logged("TOKEN_MALFORMED").await);
    for record in &log {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(record[field].is_string(), "{field} is not in {record}");
        }
    }
    let access: Vec<&Value> = log.iter().filter(|r| r["target"] == "posthouse::access").collect();
    assert_eq!(access.len(), 2, "{access:#?}");
    assert_eq!(access[0]["method"], "posthouse.v1.Queues/CreateQueue");
    assert_eq!(
        (&access[1]["outcome"], &access[1]["reason"]),
        (&"UNAUTHENTICATED".into(), &"TOKEN_MALFORMED".into())
    );
    assert!(!scene.server.log().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_is_recorded_with_its_queue_and_so_is_one_that_was_refused() {
    let scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    let queue = scene.plain_queue("q").await;
    let id = scene.fail(&queue, "a").await;
    let request =
        v1::RedriveDeadLettersRequest { queue: queue.clone(), ..v1::RedriveDeadLettersRequest::default() };
    let answer = scene.caller.messages().redrive_dead_letters(scene.caller.request(request.clone())).await;
    assert_eq!(answer.unwrap().into_inner().redriven, 1);
    let stranger = scene.scoped("posthouse:manage:civil-affairs/household-registry/other");
    stranger.messages().redrive_dead_letters(stranger.request(request)).await.unwrap_err();
    let find = v1::FindMessageRequest { message_id: id.clone(), ..v1::FindMessageRequest::default() };
    stranger.messages().find_message(stranger.request(find)).await.unwrap_err();

    let changed = records(&scene.site, "manage", 2).await.remove(1);
    assert_eq!(changed["method"], "posthouse.v1.Messages/RedriveDeadLetters");
    assert_eq!((&changed["queue"], &changed["outcome"]), (&Value::from(queue.clone()), &"OK".into()));
    let refused = records(&scene.site, "refused", 2).await;
    assert_eq!((&refused[0]["queue"], &refused[0]["reason"]), (&queue.into(), &"GRANT_MISSING".into()));
    assert_eq!((&refused[1]["queue"], &refused[1]["reason"]), (&id.into(), &"GRANT_MISSING".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_recorded_even_if_its_publisher_does_not_wait_for_the_answer() {
    let scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    let queue = scene.plain_queue("q").await;
    for round in 0..60 {
        let request = v1::PublishRequest {
            queue: queue.clone(),
            messages: vec![message("a")],
            ..v1::PublishRequest::default()
        };
        let (mut publisher, request) = (scene.caller.publisher(), scene.caller.request(request));
        // It hangs up sooner or later: by then, some of these messages are on their way to the disk.
        let _ = tokio::time::timeout(Duration::from_micros(100 * round), publisher.publish(request)).await;
    }
    scene.publish(&queue, &["last"]).await;
    let path = scene.site.path("access.jsonl");
    eventually("a record of every message", || async {
        let text = fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))?;
        let published = lines(&text).into_iter().filter(|record| record["action"] == "publish");
        let recorded: u64 = published.map(|record| record["count"].as_u64().unwrap()).sum();
        (recorded == scene.stats(&queue).await.published).then_some(())
    })
    .await;
}

/// A caller with a certificate of this tenant's authority, and a token that is bound to it.
async fn with_certificate(site: &Site, tenant: &str, leaf: &Leaf) -> (Caller, String) {
    let certificate = site.issue(tenant, leaf);
    let thumbprint = certificate.thumbprint().unwrap();
    let token = site.mint(tenant, &site.claims(tenant, &certificate));
    (Caller::connect(site, &Credentials { certificate, token }).await, thumbprint)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impersonation_is_recorded_with_whose_certificate_it_was_and_no_noise_hides_it() {
    let scene = Scene::on(Site::with_sections("[access]\nfile = \"access.jsonl\"\n")).await;
    let call = async |caller: &Caller, path: &str| {
        raw::unary(caller, path, bytes::Bytes::new()).await.unwrap_err();
    };
    // A job of one agency with a broken certificate, repeated.
    let broken = Leaf { uris: Vec::new(), ..Leaf::client(&spiffe_id(CIVIL)) };
    let (broken, _) = with_certificate(&scene.site, CIVIL, &broken).await;
    for _ in 0..30 {
        call(&broken, "/posthouse.v1.Queues/GetQueue").await;
    }
    // A certificate of another agency that claims to be the first.
    let leaf = Leaf::client(&spiffe_id(CIVIL));
    let (impostor, thumbprint) = with_certificate(&scene.site, TAXATION, &leaf).await;
    call(&impostor, "/posthouse.v1.Queues/GetQueue").await;
    call(&impostor, "/posthouse.v1.Queues/Nothing").await;
    let path = scene.site.path("access.jsonl");
    let recorded = async || {
        let text = fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))?;
        let found: Vec<Value> =
            lines(&text).into_iter().filter(|r| r["x5t#S256"] == thumbprint.as_str()).collect();
        Some(found).filter(|found| found.len() == 2)
    };
    let found = eventually("the records of the impostor", recorded).await;
    for record in &found {
        assert_eq!(record["claimed_spiffe_id"], spiffe_id(CIVIL), "{record}");
        assert!(record.get("spiffe_id").is_none(), "{record}");
        assert_eq!(record["authority_tenants"], Value::from(vec![TAXATION]), "{record}");
        assert_eq!(record["reason"], "CERTIFICATE_IDENTITY_INVALID", "{record}");
        assert!(record["fault"].as_str().unwrap().contains("may not speak for its tenant"), "{record}");
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        assert!(record.get("tenant").is_none(), "{record}");
    }
    assert_eq!(found[1]["path"], "/posthouse.v1.Queues/Nothing", "{found:#?}");
}

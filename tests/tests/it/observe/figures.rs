//! Metrics count what was done, and name no caller.

use std::collections::BTreeSet;

use bytes::Bytes;
use posthouse_proto::v1::{self, SettleAction, SubscriptionSettings};
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, sum, value},
    raw,
    scene::{LONG, SHORT, Scene, message, settlement},
    site::{CIVIL, Site},
    stream::{Stream, open},
};

/// Publishes four messages, has three publishes refused, settles three in three ways, and lets one lease expire.
async fn work(scene: &Scene) -> String {
    let settings = SubscriptionSettings { max_attempts: 2, ..SubscriptionSettings::default() };
    let queue = scene.queue("canary-queue", settings).await;
    scene.publish(&queue, &["canary-payload", "b", "c", "d"]).await;
    let mut too_large = message("x");
    too_large.payload = vec![0; (1 << 20) + 1].into();
    let request =
        v1::PublishRequest { queue: queue.clone(), messages: vec![too_large], ..Default::default() };
    scene.caller.publisher().publish(scene.caller.request(request.clone())).await.unwrap();
    // Whole batches: one is refused at once, one by the queue's state.
    for producer in
        [None, Some(v1::ProducerSession { producer_id: vec![1; 16].into(), epoch: 1, first_sequence: 0 })]
    {
        let request = v1::PublishRequest { atomic: true, producer, ..request.clone() };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap_err();
    }

    let mut deliveries = Vec::new();
    while deliveries.len() < 4 {
        deliveries.extend(scene.receive(&queue, 1, if deliveries.is_empty() { SHORT } else { LONG }).await);
    }
    for (delivery, action) in
        deliveries[1..].iter().zip([SettleAction::Ack, SettleAction::Release, SettleAction::DeadLetter])
    {
        scene.settled(&queue, settlement(delivery, action)).await;
    }
    let stranger = scene.caller.with_token(Some("canary-token"));
    let request = v1::GetQueueRequest { name: queue.clone() };
    stranger.queues().get_queue(stranger.request(request)).await.unwrap_err();
    queue
}

#[tokio::test(flavor = "multi_thread")]
async fn they_contain_what_was_done_and_no_names() {
    let scene = Scene::start().await;
    let queue = work(&scene).await;
    let address = scene.site.management();
    let metrics = eventually("the expiry of a lease", || async {
        Some(scrape(address).await).filter(|metrics| value(metrics, "posthouse_leases_expired_total") > 0.0)
    })
    .await;
    for (series, expected) in [
        ("posthouse_messages_published_total", 4.0),
        ("posthouse_messages_rejected_total{reason=\"MESSAGE_TOO_LARGE\"}", 3.0),
        ("posthouse_messages_delivered_total", 4.0),
        ("posthouse_message_waiting_seconds_count", 4.0),
        ("posthouse_messages_settled_total{action=\"ack\"}", 1.0),
        ("posthouse_messages_settled_total{action=\"release\"}", 1.0),
        ("posthouse_messages_settled_total{action=\"dead_letter\"}", 1.0),
        ("posthouse_messages_dead_total{how=\"parked\"}", 1.0),
        ("posthouse_leases_expired_total", 1.0),
        ("posthouse_rpcs_total{code=\"OK\",method=\"posthouse.v1.Publisher/Publish\"}", 2.0),
        ("posthouse_rpcs_total{code=\"UNAUTHENTICATED\",method=\"posthouse.v1.Queues/GetQueue\"}", 1.0),
        ("posthouse_auth_refusals_total{reason=\"TOKEN_MALFORMED\"}", 1.0),
        ("posthouse_server_state{state=\"serving\"}", 1.0),
        ("posthouse_shards", 4.0),
        ("posthouse_shards_halted{reason=\"corrupt\"}", 0.0),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series} in\n{metrics}");
    }
    let reasons = metrics.lines().filter(|line| line.starts_with("posthouse_shards_halted{")).count();
    assert!(reasons == 8 && sum(&metrics, "posthouse_shards_halted") == 0.0, "{metrics}");
    for series in [
        "posthouse_log_sync_duration_seconds_count",
        "posthouse_commit_duration_seconds_count",
        "posthouse_apply_duration_seconds_count",
        "posthouse_connections_open",
        "posthouse_disk_free_bytes",
        "posthouse_certificate_not_after_timestamp_seconds",
        "posthouse_body_cache_reads_total{result=\"hit\"}",
        "posthouse_token_cache_lookups_total{result=\"hit\"}",
        "posthouse_log_segments",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(value(&metrics, series) > 0.0, "{series} in\n{metrics}");
    }
    for name in ["canary", CIVIL, "household", "taxation", &queue, "spiffe"] {
        assert!(!metrics.contains(name), "{name} in\n{metrics}");
    }
}

/// Calls with names that do not exist: methods, tenants, departments, queues, messages, keys.
async fn make_up_names(scene: &Scene, from: usize, to: usize) {
    let caller = &scene.caller;
    for number in from..to {
        let queue = format!("tenants/t{number}/departments/d{number}/queues/q{number}");
        let own = format!("tenants/{CIVIL}/departments/household-registry/queues/q{number}");
        raw::unary(caller, &format!("/posthouse.v1.Queues/M{number}"), Bytes::new()).await.unwrap_err();
        raw::unary(caller, &format!("/s{number}/GetQueue"), Bytes::new()).await.unwrap_err();
        for name in [queue, own] {
            let request = v1::GetQueueRequest { name: name.clone() };
            caller.queues().get_queue(caller.request(request)).await.unwrap_err();
            let request =
                v1::PublishRequest { queue: name, messages: vec![message("a")], ..Default::default() };
            caller.publisher().publish(caller.request(request)).await.unwrap_err();
        }
        let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
        claims.iss = format!("https://i{number}.example");
        let stranger = caller.with_token(Some(&scene.site.mint(CIVIL, &claims)));
        let request = v1::GetQueueRequest { name: format!("q{number}") };
        stranger.queues().get_queue(stranger.request(request)).await.unwrap_err();
        // A connection whose tokens only fail is closed.
        let request = v1::ListQueuesRequest {
            parent: format!("tenants/{CIVIL}/departments/household-registry"),
            ..Default::default()
        };
        caller.queues().list_queues(caller.request(request)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_callers_make_up_make_no_series() {
    let scene = Scene::start().await;
    let series = async || -> BTreeSet<String> {
        let metrics = scrape(scene.site.management()).await;
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    make_up_names(&scene, 0, 2).await;
    let before = series().await;
    // Fewer than the failed tokens that are allowed for one certificate, after which the answer is another.
    make_up_names(&scene, 2, 200).await;
    let new: Vec<String> = series().await.difference(&before).cloned().collect();
    assert_eq!(new, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_counted_while_they_are_open() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let address = scene.site.management();
    let series = "posthouse_streams_open{method=\"posthouse.v1.Consumer/Consume\"}";
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 10)).await;
    assert_eq!(value(&scrape(address).await, series), 1.0);
    stream.half_close();
    stream.end().await.unwrap();
    let ended = "posthouse_rpcs_total{code=\"OK\",method=\"posthouse.v1.Consumer/Consume\"}";
    let metrics = eventually("the end of the stream", || async {
        Some(scrape(address).await).filter(|metrics| value(metrics, series) == 0.0)
    })
    .await;
    assert_eq!(value(&metrics, ended), 1.0, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_series_where_they_are_asked_for() {
    let scene = Scene::on(Site::with_sections("[metrics]\ntenants = true\n")).await;
    let queue = scene.plain_queue("canary-queue").await;
    scene.publish(&queue, &["a", "b"]).await;
    let delivery = scene.receive(&queue, 1, LONG).await.remove(0);
    scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
    let metrics = scrape(scene.site.management()).await;
    for (series, expected) in [
        ("posthouse_tenant_messages_published_total", 2.0),
        ("posthouse_tenant_messages_delivered_total", 1.0),
        ("posthouse_tenant_messages_settled_total", 1.0),
    ] {
        assert_eq!(value(&metrics, &format!("{series}{{tenant=\"{CIVIL}\"}}")), expected, "{series}");
        assert_eq!(value(&metrics, &format!("{series}{{tenant=\"taxation\"}}")), 0.0, "{series}");
    }
    assert!(!metrics.contains("canary-queue"));
}

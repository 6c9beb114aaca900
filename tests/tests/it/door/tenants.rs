//! The connection slots of one tenant.

use std::time::Duration;

use posthouse_proto::v1::{GetQueueRequest, PublishRequest};
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, value},
    refusal::assert_refused,
    scene::{Scene, message, queue_name},
    site::{CIVIL, Site, TAXATION},
    wire::Caller,
};
use tokio::io::AsyncReadExt;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{crowd, from, idle, ping, publish};

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_one_tenant_is_refused_and_another_tenant_gets_in() {
    let site = Site::new();
    site.configure(&[("shards = 4", "shards = 4\nmax_connections = 100")]);
    let scene = Scene::on(site).await;
    let log = || scene.server.log();
    let (site, other) = (&scene.site, scene.site.credentials(TAXATION));
    let queue = scene.plain_queue("q").await;
    let channels = crowd(site, &scene.credentials, 120).await;
    // Three quarters of all slots, the caller's own among them.
    assert_eq!(channels.len(), 74, "{}", log());
    assert!(log().contains("its tenant has as many open as may be"), "{}", log());
    idle(site, &other).await.unwrap();
    publish(&scene.caller, &queue).await;
    // When all slots are in use, one more connection is closed at once.
    let _others = crowd(site, &other, 40).await;
    let mut refused = from(1, site.listen()).await.unwrap();
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    drop(channels);
    eventually("a connection slot", async || idle(site, &scene.credentials).await.ok()).await;
}

/// A server on which the tenant [`CIVIL`] may have two connections.
async fn two_of_a_tenant() -> Scene {
    let site = Site::new();
    let name = format!("name = \"{CIVIL}\"\n");
    site.configure(&[(&name, &format!("{name}max_connections = 2\n"))]);
    Scene::on(site).await
}

/// Asks for a queue that does not exist, on this connection.
async fn call(caller: &Caller) -> Result<(), tonic::Status> {
    let request = caller.request(GetQueueRequest { name: queue_name("nothing") });
    match caller.queues().get_queue(request).await {
        Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(()),
        answer => answer.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_without_tokens_take_no_place_of_their_tenant() {
    let scene = two_of_a_tenant().await;
    let (site, civil) = (&scene.site, &scene.credentials);
    call(&scene.caller).await.unwrap();
    // With a health check, with a bad token, and without a call.
    let mut held = Vec::new();
    for number in 0..30 {
        let stranger = Caller::connect(site, civil).await.with_token((number % 3 == 0).then_some("a.b.c"));
        match number % 3 {
            0 => assert_eq!(call(&stranger).await.unwrap_err().code(), Code::Unauthenticated),
            1 => ping(&stranger.channel()).await.unwrap(),
            _ => {}
        }
        held.push(stranger);
    }
    let second = Caller::connect(site, civil).await;
    call(&second).await.unwrap();
    let metrics = scrape(site.management()).await;
    assert_eq!(value(&metrics, "posthouse_connections_refused_total{reason=\"tenant_full\"}"), 0.0);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_beyond_its_tenants_connections_is_told_so() {
    let scene = two_of_a_tenant().await;
    let (site, civil) = (&scene.site, &scene.credentials);
    let queue = scene.plain_queue("q").await;
    call(&scene.caller).await.unwrap();
    let second = Caller::connect(site, civil).await;
    call(&second).await.unwrap();
    let third = Caller::connect(site, civil).await;
    let messages = vec![message("a")];
    let request = PublishRequest { queue: queue.clone(), messages, ..PublishRequest::default() };
    let answer = third.publisher().publish(third.request(request)).await;
    let refusal = assert_refused(answer, Code::ResourceExhausted, "LIMIT_REACHED");
    assert_eq!(refusal.fact("limit"), Some("max_connections"));
    assert!(refusal.says_when_to_try_again());
    let log = || scene.server.log();
    eventually("a warning", async || log().contains("its tenant has as many open as may be").then_some(()))
        .await;
    let refused = async || {
        let metrics = scrape(site.management()).await;
        value(&metrics, "posthouse_connections_refused_total{reason=\"tenant_full\"}")
    };
    assert_eq!(refused().await, 1.0);
    // Other callers, of this tenant and of others, are not affected.
    call(&scene.caller).await.unwrap();
    call(&second).await.unwrap();
    idle(site, &site.credentials(TAXATION)).await.unwrap();
    assert_eq!((scene.caller.connections(), second.connections()), (1, 1));
    drop(second);
    let fourth = eventually("a connection slot", async || {
        let caller = Caller::connect(site, civil).await;
        call(&caller).await.ok().map(|()| caller)
    })
    .await;
    // The refused publish stored nothing.
    assert_eq!(scene.publish(&queue, &["b"]).await, [1]);
    call(&fourth).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_beyond_its_tenants_is_closed() {
    let scene = two_of_a_tenant().await;
    let (site, civil) = (&scene.site, &scene.credentials);
    let second = Caller::connect(site, civil).await;
    call(&scene.caller).await.unwrap();
    call(&second).await.unwrap();
    // Its watch goes on for ever, and its client would keep the connection.
    let third = Caller::connect(site, civil).await;
    let mut health = HealthClient::new(third.channel());
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap();
    call(&third).await.unwrap_err();
    let end = async { while let Ok(Some(_)) = watched.message().await {} };
    tokio::time::timeout(Duration::from_secs(8), end).await.expect("it stays");
    drop(second);
}

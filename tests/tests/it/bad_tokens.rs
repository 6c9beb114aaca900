//! Calls that fail to authenticate repeatedly.

use posthouse_proto::v1::GetQueueRequest;
use posthouse_tests::harness::{
    eventually,
    probe::{scrape, value},
    raw::unary,
    scene::{Scene, queue_name},
    site::{CIVIL, TAXATION},
    wire::Caller,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_to_authenticate_again_and_again_is_closed() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let stranger = Caller::connect(&scene.site, &scene.credentials).await.with_token(Some("no token"));
    eventually("another connection", async || {
        let request = stranger.request(GetQueueRequest { name: queue.clone() });
        let status = stranger.queues().get_queue(request).await.unwrap_err();
        assert!(matches!(status.code(), Code::Unauthenticated | Code::Unavailable), "{status:?}");
        (stranger.connections() > 1).then_some(())
    })
    .await;
    scene.server.logged("its calls fail to authenticate").await;
    assert_eq!(scene.caller.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_verified_a_few_times_and_then_no_more() {
    let scene = Scene::start().await;
    let stranger = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    let claims = scene.site.claims(TAXATION, &scene.site.certificate(TAXATION));
    // Signed by another tenant's issuer, each a different token.
    for number in 0..1_500 {
        let mut claims = claims.clone();
        claims.jti = format!("forged-{number}");
        let token = scene.site.mint(CIVIL, &claims);
        let forged = stranger.with_token(Some(&token));
        let request = forged.request(GetQueueRequest { name: queue_name("q") });
        let status = forged.queues().get_queue(request).await.unwrap_err();
        let ended = [Code::Unavailable, Code::Cancelled, Code::Internal];
        let refused = [Code::Unauthenticated, Code::ResourceExhausted];
        assert!(refused.contains(&status.code()) || ended.contains(&status.code()), "{status:?}");
        if number % 30 == 0 {
            let _ = HealthClient::new(stranger.channel()).check(HealthCheckRequest::default()).await;
        }
    }
    let metrics = scrape(scene.site.management()).await;
    let checked = value(&metrics, "posthouse_token_cache_lookups_total{result=\"miss\"}");
    assert!(checked < 600.0, "{checked} tokens were verified");
    assert!(value(&metrics, "posthouse_auth_throttled_calls_total{by=\"certificate\"}") > 0.0, "{metrics}");
    assert!(stranger.connections() > 5);
    // Other callers are not affected.
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    assert_eq!(scene.caller.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_token_was_bad_recovers_with_a_good_one() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let caller = Caller::connect(&scene.site, &scene.credentials).await;
    // As many streams as a connection may have, all with the same bad token.
    let calls = (0..200).map(|_| {
        let caller = caller.with_token(Some("no token"));
        let name = queue.clone();
        async move { caller.queues().get_queue(caller.request(GetQueueRequest { name })).await.unwrap_err() }
    });
    futures_util::future::join_all(calls).await;
    eventually("a good call", async || {
        let request = caller.request(GetQueueRequest { name: queue.clone() });
        caller.queues().get_queue(request).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_no_method_end_their_connection() {
    let scene = Scene::start().await;
    let stranger = Caller::connect(&scene.site, &scene.credentials).await;
    for _ in 0..2_000 {
        let answer = unary(&stranger, "/x/y", bytes::Bytes::new()).await;
        let code = answer.unwrap_err().code();
        // The statuses that the client makes of a connection that ends during a call.
        let ended = [Code::Unavailable, Code::Cancelled, Code::Internal];
        let refused = [Code::PermissionDenied, Code::ResourceExhausted];
        assert!(refused.contains(&code) || ended.contains(&code), "{code:?}");
    }
    assert!(stranger.connections() > 10, "{}", stranger.connections());
    let log = scene.server.log();
    let warned = log.matches("its calls fail to authenticate").count();
    assert!((1..=20).contains(&warned), "{warned} warnings");
}

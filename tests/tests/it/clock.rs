//! A wall clock that is a year ahead, at the start or all of a sudden.

use std::process::Command;

use posthouse_proto::v1::{GetQueueRequest, SettleAction};
use posthouse_tests::harness::scene::{LONG, Scene, settlement, text};
use posthouse_tests::harness::server::Server;
use posthouse_tests::harness::site::CIVIL;
use posthouse_tests::harness::wire::Caller;
use posthouse_tests::harness::{binaries, eventually};

const YEAR: u64 = 365 * 24 * 3600;

/// The command of a server whose clock is wrong, in this way.
fn wrong(scene: &Scene, ways: &[(&str, &str)], flags: &[&str]) -> Command {
    let mut command = Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(scene.site.config()).args(flags);
    command.env("LD_PRELOAD", binaries::powercut_library()).env("POSTHOUSE_CLOCK_AHEAD", YEAR.to_string());
    command.envs(ways.iter().copied());
    command
}

/// The caller with a token that is good in a year.
fn later(scene: &Scene, caller: &Caller) -> Caller {
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.iat += YEAR;
    claims.exp += YEAR;
    caller.with_token(Some(&scene.site.mint(CIVIL, &claims)))
}

async fn restart(scene: &mut Scene, flags: &[&str]) {
    scene.server.kill();
    scene.server = Server::run(&scene.site, wrong(scene, &[], flags));
    scene.server.ready(&scene.site).await;
    let caller = Caller::connect(&scene.site, &scene.credentials).await;
    scene.caller = later(scene, &caller);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start_expires_nothing_until_an_operator_says_so() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    let leased = scene.receive(&queue, 2, LONG).await;
    assert_eq!(leased.len(), 2);
    restart(&mut scene, &[]).await;
    assert!(scene.server.log().contains("more than seven days ahead"), "{}", scene.server.log());
    assert!(
        scene.receive_now(&queue, 10).await.is_empty(),
        "a lease of ten minutes has ended within seconds"
    );
    scene.settled(&queue, settlement(&leased[0], SettleAction::Ack)).await;
    scene.publish(&queue, &["c"]).await;
    assert_eq!(text(&scene.receive_one(&queue, LONG).await), "c");

    restart(&mut scene, &["--accept-clock-jump"]).await;
    let again = eventually("the end of a lease of a year ago", async || {
        scene.receive_now(&queue, 10).await.into_iter().find(|delivery| text(delivery) == "b")
    })
    .await;
    scene.settled(&queue, settlement(&again, SettleAction::Ack)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_running_server_ends_tokens_and_no_leases() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    scene.server.kill();
    let jump = scene.site.path("jump");
    let command = wrong(&scene, &[("POSTHOUSE_CLOCK_JUMPS_WITH", jump.to_str().unwrap())], &[]);
    scene.server = Server::run(&scene.site, command);
    scene.server.ready(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    let leased = scene.receive_one(&queue, LONG).await;
    std::fs::write(jump, "").unwrap();
    // Certificates and tokens go by the wall clock: it is what their issuers go by.
    eventually("the jump", async || {
        let request = scene.caller.request(GetQueueRequest { name: queue.clone() });
        let status = scene.caller.queues().get_queue(request).await.err()?;
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status:?}");
        Some(())
    })
    .await;
    scene.caller = later(&scene, &scene.caller);
    assert!(
        scene.receive_now(&queue, 10).await.is_empty(),
        "a lease of ten minutes has ended within seconds"
    );
    scene.settled(&queue, settlement(&leased, SettleAction::Ack)).await;
    assert_eq!(scene.publish(&queue, &["b"]).await, [2]);
}

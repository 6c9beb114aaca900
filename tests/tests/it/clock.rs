//! A wrong wall clock, a year ahead from the start or suddenly; and one that is set right.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use posthouse_proto::v1::{
    Delivery, GetQueueRequest, MessageState, SettleAction,
    publish_stream_response::{Results, batch_result::Outcome},
};
use posthouse_tests::harness::{
    binaries, eventually, probe,
    publishing::{PublishStream, batch, open},
    scene::{LONG, SHORT, Scene, message, settlement, text},
    server::Server,
    site::{CIVIL, Credentials, Site},
    wire::Caller,
};

const YEAR: i64 = 365 * 24 * 3600;
const FIFTY_MINUTES: i64 = 50 * 60;

/// The command of a server whose clock is ahead by this many seconds, in these ways.
fn wrong(site: &Site, ahead: i64, ways: &[(&str, &Path)], flags: &[&str]) -> Command {
    let mut command = Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config()).args(flags);
    command.env("LD_PRELOAD", binaries::powercut_library()).env("POSTHOUSE_CLOCK_AHEAD", ahead.to_string());
    command.envs(ways.iter().copied());
    command
}

/// A token that is valid by a clock which is this many seconds ahead.
fn token(site: &Site, credentials: &Credentials, ahead: i64) -> String {
    let mut claims = site.claims(CIVIL, &credentials.certificate);
    claims.iat = claims.iat.saturating_add_signed(ahead);
    claims.exp = claims.exp.saturating_add_signed(ahead);
    site.mint(CIVIL, &claims)
}

/// The caller with a token that is valid in a year.
fn later(scene: &Scene, caller: &Caller) -> Caller {
    caller.with_token(Some(&token(&scene.site, &scene.credentials, YEAR)))
}

async fn restart(scene: &mut Scene, flags: &[&str]) {
    scene.server.kill();
    scene.server = Server::run(&scene.site, wrong(&scene.site, YEAR, &[], flags));
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
    scene.server.logged("more than seven days ahead").await;
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
    let command = wrong(&scene.site, YEAR, &[("POSTHOUSE_CLOCK_JUMPS_WITH", &jump)], &[]);
    scene.server = Server::run(&scene.site, command);
    scene.server.ready(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    let leased = scene.receive_one(&queue, LONG).await;
    std::fs::write(jump, "").unwrap();
    // Certificates and tokens go by the wall clock, as their issuers do.
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

/// A server that was started with a clock this many seconds ahead, and the file that sets the clock right.
async fn begun_wrong(ahead: i64) -> (Scene, PathBuf) {
    let site = Site::new();
    let credentials = site.credentials(CIVIL);
    let right = site.path("right");
    let command = wrong(&site, ahead, &[("POSTHOUSE_CLOCK_RIGHT_WITH", &right)], &[]);
    let mut server = Server::run(&site, command);
    server.ready(&site).await;
    let caller =
        Caller::connect(&site, &credentials).await.with_token(Some(&token(&site, &credentials, ahead)));
    (Scene { site, server, caller, credentials }, right)
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn time_ms(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("there is a time");
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

fn left_ms(left: Option<prost_types::Duration>) -> i64 {
    let left = left.expect("there is a time left");
    left.seconds * 1_000 + i64::from(left.nanos) / 1_000_000
}

#[track_caller]
fn is_within_a_second(deadline: i64, right: i64) {
    assert!(
        (deadline - right).abs() <= 1_000,
        "the deadline is {deadline}, {} ms from {right}",
        deadline - right
    );
}

/// Fails unless the deadline and the remaining time of a lease of ten minutes are right for this moment.
#[track_caller]
fn is_right(deadline: Option<prost_types::Timestamp>, left: Option<prost_types::Duration>, granted: Instant) {
    let left = left_ms(left);
    is_within_a_second(time_ms(deadline), now_ms() + left);
    let ten_minutes = i64::try_from((LONG - granted.elapsed()).as_millis()).unwrap();
    // The server's time may run faster or slower by a hundredth while it approaches the wall clock.
    assert!(
        (ten_minutes - 8_000..=ten_minutes + 8_000).contains(&left),
        "{left} ms are left of {ten_minutes}"
    );
}

/// The publish time of a message that is published now.
async fn published_now(scene: &Scene, queue: &str, text: &str) -> i64 {
    let mut stream = PublishStream::open(&scene.caller, open(queue, None)).await;
    match stream.publish(batch(1, vec![message(text)])).await.outcome {
        Some(Outcome::Results(Results { all_stored: Some(stored), .. })) => time_ms(stored.publish_time),
        other => panic!("not stored: {other:?}"),
    }
}

fn published(delivery: &Delivery) -> i64 {
    time_ms(delivery.message.as_ref().unwrap().publish_time)
}

fn id(delivery: &Delivery) -> &str {
    &delivery.message.as_ref().unwrap().id
}

/// Reported times are right within a second at once, and durations are not affected.
async fn goes_on_as_if_nothing_had_happened(ahead: i64) {
    let (mut scene, right) = begun_wrong(ahead).await;
    let begun = Instant::now();
    let queue = scene.plain_queue("q").await;
    let under_wrong = now_ms() + ahead * 1_000;
    scene.publish(&queue, &["a", "b"]).await;
    let (a, granted_a) = (scene.receive(&queue, 1, LONG).await.remove(0), Instant::now());
    is_within_a_second(published(&a), under_wrong);
    is_within_a_second(time_ms(a.lease_deadline), now_ms() + ahead * 1_000 + left_ms(a.lease_time_left));

    std::fs::write(right, "").unwrap();
    scene.caller = scene.caller.with_token(Some(&scene.credentials.token));
    let found = scene.find(id(&a)).await;
    assert_eq!(found.state(), MessageState::Leased);
    is_right(found.lease_deadline, found.lease_time_left, granted_a);
    is_within_a_second(published_now(&scene, &queue, "c").await, now_ms());
    let (b, granted_b) = (scene.receive(&queue, 1, LONG).await.remove(0), Instant::now());
    assert_eq!(text(&b), "b");
    is_right(b.lease_deadline, b.lease_time_left, granted_b);
    // It was stored under the wrong clock, and keeps its stamp.
    is_within_a_second(published(&b), under_wrong);
    scene.settled(&queue, settlement(&a, SettleAction::Ack)).await;

    // A lease ends, and not before its reported deadline.
    let c = scene.receive_one(&queue, 2 * SHORT).await;
    let deadline = time_ms(c.lease_deadline);
    let again = eventually("the end of a lease", async || scene.receive_now(&queue, 10).await.pop()).await;
    assert!(text(&again) == "c" && now_ms() + 50 >= deadline, "{} ms early", deadline - now_ms());
    scene.settled(&queue, settlement(&again, SettleAction::Ack)).await;

    let stats = scene.stats(&queue).await;
    is_within_a_second(time_ms(stats.as_of), now_ms());
    is_within_a_second(time_ms(stats.last_ack_time), now_ms());
    let allowed_ms = i64::try_from(3 * begun.elapsed().as_millis()).unwrap() + 1_000;
    for (what, sum) in [
        ("waiting", stats.waiting_time_sum),
        ("processing", stats.processing_time_sum),
        ("oldest", stats.oldest_unsettled_age),
    ] {
        assert!(
            (0..=allowed_ms).contains(&left_ms(sum)),
            "{what}: {sum:?}, and no more than {allowed_ms} ms have passed"
        );
    }
    watched(&scene, ahead, begun).await;

    // After a restart, leases are still held, and reported by the present clock.
    scene.crash().await;
    let found = scene.find(id(&b)).await;
    assert_eq!(found.state(), MessageState::Leased, "a lease of ten minutes has ended within seconds");
    is_right(found.lease_deadline, found.lease_time_left, granted_b);
    assert!(scene.receive_now(&queue, 10).await.is_empty());
    scene.settled(&queue, settlement(&b, SettleAction::Ack)).await;
    is_within_a_second(published_now(&scene, &queue, "d").await, now_ms());
}

/// What operators see of the wrong clock.
async fn watched(scene: &Scene, ahead: i64, begun: Instant) {
    let metrics = probe::scrape(scene.site.management()).await;
    let waited = probe::value(&metrics, "posthouse_message_waiting_seconds_sum");
    assert!(waited <= 3.0 * begun.elapsed().as_secs_f64(), "{waited} s");
    let difference = probe::value(&metrics, "posthouse_clock_wall_ahead_seconds");
    assert!((difference + ahead as f64).abs() < 5.0, "{difference}");
    let way = if ahead > 0 { "behind the time of batches" } else { "ahead of the time of batches" };
    let ready = probe::get(scene.site.management(), "/readyz").await.unwrap();
    assert!(
        ready.status == 200 && ready.body.contains("clock: the wall clock is ") && ready.body.contains(way)
    );
    eventually("the warning", async || {
        scene.server.log().contains("the wall clock and the time of batches differ").then_some(())
    })
    .await;
    assert_eq!(scene.server.log().matches("time of batches differ").count(), 1, "{}", scene.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn ahead_and_set_right_tells_right_times_at_once_and_ends_nothing_early() {
    goes_on_as_if_nothing_had_happened(FIFTY_MINUTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_and_set_right_tells_right_times_at_once_and_ends_nothing_early() {
    goes_on_as_if_nothing_had_happened(-FIFTY_MINUTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ahead_and_set_right_while_no_server_runs_tells_right_times_at_once() {
    let (mut scene, _) = begun_wrong(FIFTY_MINUTES).await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let (a, granted) = (scene.receive_one(&queue, LONG).await, Instant::now());
    scene.crash().await;
    let found = scene.find(id(&a)).await;
    assert_eq!(found.state(), MessageState::Leased);
    is_right(found.lease_deadline, found.lease_time_left, granted);
    is_within_a_second(published_now(&scene, &queue, "b").await, now_ms());
    scene.settled(&queue, settlement(&a, SettleAction::Nack)).await;
    let b = scene.receive(&queue, 2, Duration::from_secs(600)).await;
    assert_eq!(b.len(), 2);
}

//! Consumers that misbehave. Others receive what they held, and nothing of the others is touched.

use std::{collections::BTreeSet, io::Read, process::Stdio};

use posthouse_proto::v1::{self, Delivery, NewMessage, SettleAction, SubscriptionSettings};
use posthouse_tests::harness::{
    PATIENCE, cli, eventually,
    scene::{LONG, SHORT, Scene, message, settlement, text, wire},
    site::CIVIL,
    stream::{Stream, open},
    wire::Caller,
};

use super::{assert_serves, publish};

const DEAF: [u8; 16] = [1; 16];
const GOOD: [u8; 16] = [2; 16];

fn brief(queue: &str, session: [u8; 16], credits: u32) -> v1::OpenConsume {
    v1::OpenConsume { lease_duration: wire(SHORT), ..open(queue, session, credits) }
}

fn sequences(deliveries: &[Delivery]) -> BTreeSet<u64> {
    deliveries.iter().map(|delivery| delivery.message.as_ref().unwrap().sequence).collect()
}

async fn ack_all(scene: &Scene, queue: &str, deliveries: &[Delivery]) {
    for delivery in deliveries {
        scene.settled(queue, settlement(delivery, SettleAction::Ack)).await;
    }
    let stats = scene.stats(queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.waiting, stats.parked), (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_reading_holds_no_more_than_its_credit_and_no_longer_than_its_lease() {
    const COUNT: usize = 40;
    const HELD: usize = 10;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..COUNT {
        // Its messages are more than the network accepts for a client that does not read.
        let large = NewMessage { payload: vec![7; 500_000].into(), ..NewMessage::default() };
        publish(&scene.caller, &queue, vec![large]).await.unwrap();
    }
    let connection = Caller::connect(&scene.site, &scene.credentials).await;
    let deaf = Stream::open(&connection, brief(&queue, DEAF, HELD.try_into().unwrap())).await;
    eventually("its leases", async || (scene.stats(&queue).await.in_flight >= 10).then_some(())).await;
    let mut good = Stream::open(&scene.caller, open(&queue, GOOD, 100)).await;
    let received = good.deliveries(COUNT).await;
    assert_eq!(sequences(&received).len(), COUNT);
    let again = received.iter().filter(|delivery| delivery.attempt == 2).count();
    assert_eq!(
        (again, received.iter().filter(|delivery| delivery.attempt == 1).count()),
        (HELD, COUNT - HELD)
    );
    ack_all(&scene, &queue, &received).await;
    drop(deaf);
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_settles_loses_its_message_to_another_or_to_the_dead_letters() {
    let scene = Scene::start().await;
    let letters = scene.plain_queue("letters").await;
    let settings = SubscriptionSettings {
        max_attempts: 3,
        dead_letter_queue: letters.clone(),
        ..SubscriptionSettings::default()
    };
    let queue = scene.queue("q", settings).await;
    scene.publish(&queue, &["a"]).await;
    let mut stuck = Stream::open(&scene.caller, brief(&queue, DEAF, 1)).await;
    let first = stuck.deliveries(1).await.remove(0);
    let second = scene.receive_one(&queue, LONG).await;
    assert_eq!((first.attempt, second.attempt, text(&second).as_str()), (1, 2, "a"));
    scene.settled(&queue, settlement(&second, SettleAction::Ack)).await;

    // It is alone, and has credit for everything.
    let credit = v1::Credit { messages: 100, bytes: 0 };
    stuck.send(v1::consume_request::Frame::Credit(credit)).await;
    scene.publish(&queue, &["b"]).await;
    let tried = stuck.deliveries(3).await;
    assert_eq!(tried.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let letter = scene.receive_one(&letters, LONG).await;
    let origin = letter.message.clone().unwrap().dead_letter.unwrap();
    assert_eq!((text(&letter).as_str(), origin.attempts), ("b", 3));
    assert_eq!(origin.reason, i32::from(v1::DeadLetterReason::MaxAttempts));
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.waiting), (0, 0, 0));
    // Its stream is still open.
    scene.publish(&queue, &["c"]).await;
    assert_eq!(text(&stuck.deliveries(1).await[0]), "c");
}

/// Receives on a connection of its own, which is then reset, without an end of TLS, HTTP/2 or TCP.
fn reset_while_holding(scene: &Scene, first: v1::OpenConsume, count: usize) -> Vec<Delivery> {
    std::thread::scope(|threads| {
        let holding = threads.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (caller, stream, held) = runtime.block_on(async {
                let caller = Caller::connect(&scene.site, &scene.credentials).await;
                let mut stream = Stream::open(&caller, first).await;
                let held = stream.deliveries(count).await;
                (caller, stream, held)
            });
            caller.reset_when_closed();
            // Its tasks end at once, and the connection with them.
            drop(runtime);
            drop((caller, stream));
            held
        });
        holding.join().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_connection_is_reset_takes_its_leases_up_again() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    let held = reset_while_holding(&scene, open(&queue, DEAF, 2), 2);
    assert_eq!(scene.stats(&queue).await.in_flight, 2);
    let mut stream = Stream::open(&scene.caller, open(&queue, DEAF, 3)).await;
    assert_eq!(stream.opened.resumed_leases, 2);
    let received = stream.deliveries(3).await;
    let tokens =
        |deliveries: &[Delivery]| deliveries.iter().map(|d| d.token.clone()).collect::<BTreeSet<_>>();
    assert_eq!(tokens(&received[..2]), tokens(&held));
    assert!(received.iter().all(|delivery| delivery.attempt == 1), "{received:?}");
    ack_all(&scene, &queue, &received).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_connection_is_reset_for_good_leaves_its_messages_to_others() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    let held = reset_while_holding(&scene, brief(&queue, DEAF, 2), 2);
    let mut good = Stream::open(&scene.caller, open(&queue, GOOD, 10)).await;
    let received = good.deliveries(3).await;
    for delivery in &received {
        let before = held.iter().any(|held| held.message == delivery.message);
        assert_eq!(delivery.attempt, if before { 2 } else { 1 });
    }
    assert_eq!(sequences(&received).len(), 3);
    ack_all(&scene, &queue, &received).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_process_is_killed_loses_nothing() {
    const COUNT: usize = 2_000;
    let scene = Scene::start().await;
    let settings = SubscriptionSettings { lease_duration: wire(SHORT), ..SubscriptionSettings::default() };
    let queue = scene.queue("q", settings).await;
    let texts: Vec<String> = (0..COUNT).map(|number| format!("{number:0>1000}")).collect();
    for texts in texts.chunks(500) {
        publish(&scene.caller, &queue, texts.iter().map(|text| message(text)).collect()).await.unwrap();
    }
    let context = scene.site.context_file(CIVIL);
    let arguments = ["consume", "household-registry/q", "--output", "payload"];
    let mut child =
        cli::command(&context, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Nobody reads its output yet, so it is blocked in the middle of its work.
    eventually("its leases", async || (scene.stats(&queue).await.in_flight > 0).then_some(())).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    let mut seen: BTreeSet<String> =
        printed.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect();
    let rest = async {
        loop {
            let received = scene.receive_now(&queue, 1024).await;
            for delivery in &received {
                scene.settled(&queue, settlement(delivery, SettleAction::Ack)).await;
            }
            seen.extend(received.iter().map(text));
            let stats = scene.stats(&queue).await;
            if stats.ready + stats.in_flight + stats.waiting == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, rest).await.expect("the rest comes");
    assert_eq!(seen, texts.into_iter().collect());
}

//! Thousands of random calls and frames beside a client that behaves: no panic, no answer without a reason, no lost
//! message. `POSTHOUSE_FUZZ_SEED` repeats a run, `POSTHOUSE_FUZZ_CALLS` makes it longer.

mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use posthouse_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{self, SettleAction},
};
use posthouse_tests::harness::{
    PATIENCE, raw,
    refusal::Refusal,
    scene::{LONG, Scene, settlement, text},
    wire::Caller,
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tonic::{Code, Status};

use random::{METHODS, STREAMS};

/// A number from the environment.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// How often each reason was sent.
type Reasons = Mutex<BTreeMap<String, u32>>;

/// Every refusal must have a reason, and none may blame the server.
fn judge(reasons: &Reasons, what: &str, status: &Status) {
    let refusal = Refusal::from(status);
    *reasons.lock().unwrap().entry(refusal.reason.clone()).or_default() += 1;
    let fault = matches!(refusal.code, Code::Internal | Code::Unknown | Code::Unavailable | Code::DataLoss);
    assert!(!fault, "{what}: {refusal:?}");
    assert!(
        refusal.message.len() < 500 && !refusal.message.chars().any(char::is_control),
        "{what}: {refusal:?}"
    );
}

/// Makes one unary call.
async fn call(caller: &Caller, reasons: &Reasons, random: &mut StdRng, tokens: &[Bytes]) {
    let (path, make) = METHODS[random.random_range(0..METHODS.len())];
    let request = make(random, tokens);
    let request = random::spoil(random, &request);
    if let Err(status) = raw::unary(caller, path, request).await {
        judge(reasons, path, &status);
    }
}

/// Opens one stream of a few frames, and ends or drops it.
async fn stream(caller: &Caller, reasons: &Reasons, random: &mut StdRng, tokens: &[Bytes]) {
    let (path, open, make) = STREAMS[random.random_range(0..STREAMS.len())];
    let mut frames = Vec::new();
    if random.random_ratio(9, 10) {
        frames.push(open(random, tokens));
    }
    for _ in 0..random.random_range(0..8) {
        let frame = make(random, tokens);
        frames.push(random::spoil(random, &frame));
    }
    let mut answers = match raw::streaming(caller, path, tokio_stream::iter(frames)).await {
        Ok(answers) => answers,
        Err(status) => return judge(reasons, path, &status),
    };
    if random.random_ratio(1, 8) {
        return;
    }
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(status) => return judge(reasons, path, &status),
        }
    }
}

async fn attack(scene: &Scene, reasons: &Reasons, seed: u64, calls: u64) {
    let caller = Caller::connect(&scene.site, &scene.credentials).await;
    let mut random = StdRng::seed_from_u64(seed);
    let mut tokens: Vec<Bytes> = vec![vec![0; 20].into()];
    for number in 0..calls {
        if number.is_multiple_of(64) {
            tokens = real_tokens(&caller).await;
        }
        let once = async {
            match random.random_ratio(1, 3) {
                true => stream(&caller, reasons, &mut random, &tokens).await,
                false => call(&caller, reasons, &mut random, &tokens).await,
            }
        };
        tokio::time::timeout(PATIENCE, once)
            .await
            .unwrap_or_else(|_| panic!("call {number} is not answered"));
    }
}

/// Tokens of deliveries, so that some settlements are valid. The queue may have been deleted.
async fn real_tokens(caller: &Caller) -> Vec<Bytes> {
    let queue = random::victim();
    let definition = Some(v1::Queue { name: queue.clone(), ..v1::Queue::default() });
    let request = v1::CreateQueueRequest { queue: definition, ..v1::CreateQueueRequest::default() };
    drop(caller.queues().create_queue(caller.request(request)).await);
    let messages = vec![posthouse_tests::harness::scene::message("x"); 4];
    drop(super::publish(caller, &queue, messages).await);
    let request = v1::ReceiveRequest { queue, max_messages: 4, ..v1::ReceiveRequest::default() };
    let answer = caller.consumer().receive(caller.request(request)).await;
    let deliveries = answer.map(|answer| answer.into_inner().deliveries).unwrap_or_default();
    deliveries.into_iter().map(|delivery| delivery.token).chain([vec![0; 20].into()]).collect()
}

/// Publishes, receives and acks all the time: each message is received once, in order.
async fn behave(scene: &Scene, queue: &str, done: &AtomicBool, rounds: &AtomicU64) {
    while !done.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed).to_string();
        scene.publish(queue, &[&round]).await;
        let delivery = scene.receive_one(queue, LONG).await;
        assert_eq!((text(&delivery), delivery.attempt), (round, 1));
        scene.settled(queue, settlement(&delivery, SettleAction::Ack)).await;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_method_is_tried() {
    let mut methods = BTreeSet::new();
    for file in FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file {
        for service in &file.service {
            let paths = service.method.iter().map(|method| method.name());
            methods.extend(paths.map(|method| format!("/{}.{}/{method}", file.package(), service.name())));
        }
    }
    let tried = METHODS.iter().map(|(path, _)| *path).chain(STREAMS.iter().map(|(path, ..)| *path));
    assert_eq!(methods, tried.map(str::to_owned).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn random_calls_and_frames_harm_nobody() {
    let seed = number("POSTHOUSE_FUZZ_SEED", rand::random());
    let calls = number("POSTHOUSE_FUZZ_CALLS", 3_000);
    println!("POSTHOUSE_FUZZ_SEED={seed} POSTHOUSE_FUZZ_CALLS={calls}");
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("well-behaved").await;
    let (done, rounds, reasons) = (AtomicBool::new(false), AtomicU64::new(0), Reasons::default());
    let attacks = async {
        tokio::join!(
            attack(&scene, &reasons, seed, calls / 3),
            attack(&scene, &reasons, seed ^ 1, calls / 3),
            attack(&scene, &reasons, seed ^ 2, calls / 3)
        );
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(attacks, behave(&scene, &queue, &done, &rounds));
    let rounds = rounds.into_inner();
    let reasons = reasons.into_inner().unwrap();
    println!("{calls} calls and streams beside {rounds} messages that came and went; refused: {reasons:?}");
    // With fewer it would have tested less than it claims.
    assert!(rounds > 10 && reasons.len() > 10, "{rounds} rounds, {reasons:?}");
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.last_sequence), (0, 0, rounds));
    assert!(scene.server.runs());
    super::assert_serves(&scene).await;
    let log = scene.server.log();
    let faults: Vec<_> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    // What it wrote, it can read.
    scene.crash().await;
    assert_eq!(scene.stats(&queue).await.last_sequence, rounds);
    tokio::time::timeout(Duration::from_secs(60), super::assert_serves(&scene)).await.unwrap();
}

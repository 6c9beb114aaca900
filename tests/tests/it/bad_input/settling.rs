//! Settlements and extensions that are not valid: each is refused by itself.

use posthouse_proto::v1::{
    self, Delivery, ExtendFrame, SettleAction, SettleFrame, Settlement, consume_request, consume_response,
    extend_result, settle_result,
};
use posthouse_tests::harness::{
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, message, refused, settlement},
    site::CIVIL,
    stream::{Stream, open},
    wire::Caller,
};
use prost_types::Duration;
use tonic::{Code, Status};

use super::{assert_says, assert_serves, publish};

const SESSION: [u8; 16] = [3; 16];
const DAY: i64 = 24 * 3600;

/// A queue with deliveries whose leases are long.
async fn leased(scene: &Scene, name: &str, count: usize) -> (String, Vec<Delivery>) {
    let queue = scene.plain_queue(name).await;
    let messages = (0..count).map(|number| message(&number.to_string())).collect();
    publish(&scene.caller, &queue, messages).await.unwrap();
    let deliveries = scene.receive(&queue, count.try_into().unwrap(), LONG).await;
    assert_eq!(deliveries.len(), count);
    (queue, deliveries)
}

fn with_token(settlement: &Settlement, token: impl Into<Vec<u8>>) -> Settlement {
    Settlement { token: token.into().into(), ..settlement.clone() }
}

async fn results(scene: &Scene, queue: &str, settlements: Vec<Settlement>) -> Vec<settle_result::Result> {
    let answer = scene.settle_all(queue, settlements).await.unwrap().into_inner();
    answer.results.into_iter().map(|result| result.result.unwrap()).collect()
}

#[track_caller]
fn assert_invalid_token(result: &settle_result::Result) {
    let refusal = refused(result);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "DELIVERY_TOKEN_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_never_given_out_is_refused_alone() {
    let scene = Scene::start().await;
    let (queue, deliveries) = leased(&scene, "q", 2).await;
    let (other_queue, elsewhere) = leased(&scene, "elsewhere", 1).await;
    let good = settlement(&deliveries[0], SettleAction::Ack);
    let token = good.token.to_vec();
    let mut settlements = vec![good.clone()];
    // One bit of each byte is changed: another lease, another message of the lease, another nonce.
    settlements.extend((0..token.len()).map(|at| {
        let mut forged = token.clone();
        forged[at] ^= 0x40;
        with_token(&good, forged)
    }));
    for length in [0, 1, 19, 21, 40, 64 << 10] {
        let stretched: Vec<u8> = token.iter().copied().cycle().take(length).collect();
        settlements.push(with_token(&good, stretched));
    }
    settlements.extend([[0; 20], [0xff; 20]].map(|token| with_token(&good, token)));
    // A valid one, of another queue.
    settlements.push(settlement(&elsewhere[0], SettleAction::Ack));
    let strays = settlements.len() - 1;
    settlements.push(settlement(&deliveries[1], SettleAction::Ack));
    let results = results(&scene, &queue, settlements).await;
    assert!(matches!(results[0], settle_result::Result::Settled(_)), "{:?}", results[0]);
    results[1..=strays].iter().for_each(assert_invalid_token);
    assert!(matches!(results[strays + 1], settle_result::Result::Settled(_)), "{:?}", results[strays + 1]);
    let (here, there) = (scene.stats(&queue).await, scene.stats(&other_queue).await);
    assert_eq!((here.in_flight, there.in_flight), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_else_is_worth_nothing() {
    let scene = Scene::start().await;
    let (queue, deliveries) = leased(&scene, "q", 1).await;
    let mut claims = scene.site.claims(CIVIL, &scene.credentials.certificate);
    claims.sub = "somebody else".to_owned();
    let other = scene.caller.with_token(Some(&scene.site.mint(CIVIL, &claims)));
    for action in [SettleAction::Ack, SettleAction::Nack, SettleAction::Release, SettleAction::DeadLetter] {
        let settlements = vec![settlement(&deliveries[0], action)];
        let request = v1::SettleRequest { queue: queue.clone(), settlements, ..Default::default() };
        let answer = other.consumer().settle(other.request(request)).await.unwrap().into_inner();
        assert_invalid_token(answer.results[0].result.as_ref().unwrap());
    }
    let extension =
        extend(&other, &queue, vec![deliveries[0].token.to_vec()], Some(seconds(60))).await.unwrap();
    assert_eq!(extension[0].as_ref().unwrap_err().reason, "DELIVERY_TOKEN_INVALID");
    scene.settled(&queue, settlement(&deliveries[0], SettleAction::Ack)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_needs_an_action_and_a_possible_delay() {
    let scene = Scene::start().await;
    let (queue, deliveries) = leased(&scene, "q", 10).await;
    let mut settlements: Vec<_> =
        deliveries.iter().map(|delivery| settlement(delivery, SettleAction::Nack)).collect();
    settlements[1].action = SettleAction::Unspecified.into();
    settlements[2].action = 99;
    settlements[3].action = -1;
    let delay = |seconds, nanos| Some(Duration { seconds, nanos });
    settlements[4].delay = delay(-1, 0);
    settlements[5].delay = delay(0, -1);
    settlements[6].delay = delay(30 * DAY, 1_000_000);
    settlements[7].delay = delay(1, 1_000_000_000);
    settlements[8].delay = delay(i64::MAX, 0);
    settlements[9].delay = delay(30 * DAY, 0);
    let results = results(&scene, &queue, settlements).await;
    for (at, result) in results.iter().enumerate() {
        let field = match at {
            1..=3 => "action",
            4..=8 => "delay",
            _ => {
                assert!(matches!(result, settle_result::Result::Settled(_)), "{at}: {result:?}");
                continue;
            }
        };
        let refusal = refused(result);
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::InvalidArgument, "REQUEST_INVALID"),
            "{at}"
        );
        assert_eq!(refusal.fields(), [field], "{at}");
    }
    // The deliveries of refused settlements are leased as before, and can still be settled.
    let rest = deliveries[1..9].iter().map(|delivery| settlement(delivery, SettleAction::Ack)).collect();
    let again = self::results(&scene, &queue, rest).await;
    assert!(again.iter().all(|result| matches!(result, settle_result::Result::Settled(_))), "{again:?}");
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

async fn extend(
    caller: &Caller,
    queue: &str,
    tokens: Vec<Vec<u8>>,
    lease_duration: Option<Duration>,
) -> Result<Vec<Result<prost_types::Timestamp, Refusal>>, Status> {
    let tokens = tokens.into_iter().map(Into::into).collect();
    let request =
        v1::ExtendLeasesRequest { queue: queue.to_owned(), tokens, lease_duration, ..Default::default() };
    let answer = caller.consumer().extend_leases(caller.request(request)).await?.into_inner();
    Ok(answer.results.into_iter().map(|result| extension(result.result.unwrap())).collect())
}

fn extension(result: extend_result::Result) -> Result<prost_types::Timestamp, Refusal> {
    match result {
        extend_result::Result::LeaseDeadline(deadline) => Ok(deadline),
        extend_result::Result::Error(status) => Err(Refusal::from(&status)),
    }
}

const NO_LEASE: [Duration; 5] = [
    Duration { seconds: 0, nanos: 0 },
    Duration { seconds: -1, nanos: 0 },
    Duration { seconds: 12 * 3600, nanos: 1_000_000 },
    Duration { seconds: 5, nanos: 2_000_000_000 },
    Duration { seconds: i64::MAX, nanos: 999_999_999 },
];

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_has_a_range_and_keeps_the_lease_when_it_is_refused() {
    let scene = Scene::start().await;
    let (queue, deliveries) = leased(&scene, "q", 1).await;
    let token = deliveries[0].token.to_vec();
    for lease in NO_LEASE {
        let answer = extend(&scene.caller, &queue, vec![token.clone()], Some(lease)).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "REQUEST_INVALID");
        assert_eq!(refusal.fields(), ["lease_duration"]);
    }
    for length in [0, 19, 21] {
        let answer = extend(&scene.caller, &queue, vec![vec![7; length]], Some(seconds(60))).await.unwrap();
        assert_eq!(answer[0].as_ref().unwrap_err().reason, "DELIVERY_TOKEN_INVALID");
    }
    for count in [0, 1025] {
        let answer = extend(&scene.caller, &queue, vec![token.clone(); count], Some(seconds(60))).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "BATCH_INVALID");
        assert_says(&refusal, Code::InvalidArgument, "BATCH_INVALID", 1024);
    }
    let answer = extend(&scene.caller, &queue, vec![token; 1024], Some(seconds(12 * 3600))).await.unwrap();
    assert!(answer.len() == 1024 && answer.iter().all(Result::is_ok), "{:?}", answer[0]);
    scene.settled(&queue, settlement(&deliveries[0], SettleAction::Ack)).await;

    // On a stream it makes only its own frame fail.
    publish(&scene.caller, &queue, vec![message("a")]).await.unwrap();
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
    let held = stream.deliveries(1).await;
    for lease in NO_LEASE.into_iter().chain([seconds(60)]) {
        let tokens = vec![held[0].token.clone()];
        let frame = ExtendFrame { extend_id: 4, tokens, lease_duration: Some(lease) };
        stream.send(consume_request::Frame::Extend(frame)).await;
        let Some(consume_response::Frame::Extended(extended)) = stream.next().await.unwrap() else {
            panic!()
        };
        let answer = extension(extended.results[0].result.clone().unwrap());
        match NO_LEASE.contains(&lease) {
            true => assert_eq!(answer.unwrap_err().reason, "REQUEST_INVALID"),
            false => assert!(answer.is_ok(), "{answer:?}"),
        }
    }
    stream.half_close();
    stream.end().await.unwrap();
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_or_no_settlements_are_refused_and_lose_no_lease() {
    let scene = Scene::start().await;
    let (queue, deliveries) = leased(&scene, "q", 1).await;
    let good = settlement(&deliveries[0], SettleAction::Ack);
    for count in [0, 1025] {
        let answer = scene.settle_all(&queue, vec![good.clone(); count]).await;
        let refusal = assert_refused(answer, Code::InvalidArgument, "BATCH_INVALID");
        assert_says(&refusal, Code::InvalidArgument, "BATCH_INVALID", 1024);
        assert_eq!(refusal.fields(), ["settlements"]);
    }
    // The same token many times has one effect, and every answer says so.
    let answers = results(&scene, &queue, vec![good; 1024]).await;
    assert!(matches!(answers[0], settle_result::Result::Settled(_)), "{:?}", answers[0]);
    let again = |result: &settle_result::Result| matches!(result, settle_result::Result::AlreadySettled(_));
    assert!(answers[1..].iter().all(again), "{:?}", answers[1]);

    publish(&scene.caller, &queue, vec![message("a"), message("b")]).await.unwrap();
    let mut held = 0;
    for count in [0, 1025] {
        let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 1)).await;
        assert_eq!(stream.opened.resumed_leases, held);
        let deliveries = stream.deliveries(held as usize + usize::from(held == 0)).await;
        held = 1;
        let settlements = vec![settlement(&deliveries[0], SettleAction::Ack); count];
        stream.send(consume_request::Frame::Settle(SettleFrame { settle_id: 1, settlements })).await;
        let refusal = assert_refused(stream.end().await, Code::InvalidArgument, "BATCH_INVALID");
        assert_says(&refusal, Code::InvalidArgument, "BATCH_INVALID", 1024);
    }
    let stats = scene.stats(&queue).await;
    assert_eq!(stats.ready + stats.in_flight, 2);
}

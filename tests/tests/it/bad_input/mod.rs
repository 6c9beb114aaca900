//! Bad input is refused with its exact code and reason and the limit that was passed, and neighbours are unharmed.
//! Refusals at the handshake or for a token are in `security`, expired and repeated settlements in `leases`, unary
//! producer sessions in `producers`, damaged files in `open`.

mod consumers;
mod definitions;
mod envelopes;
mod frames;
mod fuzz;
mod names;
mod producers;
mod publishing;
mod settling;

use posthouse_proto::v1::{NewMessage, PublishRequest, PublishResult, publish_result};
use posthouse_tests::harness::{refusal::Refusal, scene::Scene, wire::Caller};
use tonic::{Code, Status};

/// A message of this many bytes.
fn sized(bytes: usize) -> NewMessage {
    NewMessage { payload: vec![b'x'; bytes].into(), ..NewMessage::default() }
}

async fn publish(
    caller: &Caller,
    queue: &str,
    messages: Vec<NewMessage>,
) -> Result<Vec<PublishResult>, Status> {
    let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
    Ok(caller.publisher().publish(caller.request(request)).await?.into_inner().results)
}

/// The sequence of each stored message, or the refusal.
fn stored_or_refused(results: Vec<PublishResult>) -> Vec<Result<u64, Refusal>> {
    let one = |result: PublishResult| match result.result.unwrap() {
        publish_result::Result::Stored(stored) => Ok(stored.sequence),
        publish_result::Result::Duplicate(duplicate) => Ok(duplicate.sequence),
        publish_result::Result::Error(status) => Err(Refusal::from(&status)),
    };
    results.into_iter().map(one).collect()
}

/// Fails unless the refusal has this code, reason and limit, in few and printable words.
#[track_caller]
#[allow(clippy::needless_pass_by_value, reason = "it is a number, of any type")]
fn assert_says(refusal: &Refusal, code: Code, reason: &str, limit: impl ToString) {
    assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{refusal:?}");
    assert_eq!(refusal.fact("limit"), Some(limit.to_string().as_str()), "{refusal:?}");
    assert_short(refusal);
}

#[track_caller]
fn assert_short(refusal: &Refusal) {
    assert!(refusal.message.len() < 300 && !refusal.message.chars().any(char::is_control), "{refusal:?}");
}

/// Fails unless a message can be published, received and settled.
async fn assert_serves(scene: &Scene) {
    let queue = scene.plain_queue(&format!("works-{:08x}", rand::random::<u32>())).await;
    scene.publish(&queue, &["a"]).await;
    let delivery = scene.receive_one(&queue, posthouse_tests::harness::scene::LONG).await;
    let ack = posthouse_proto::v1::SettleAction::Ack;
    scene.settled(&queue, posthouse_tests::harness::scene::settlement(&delivery, ack)).await;
    assert!(!scene.server.log().contains("panicked"), "{}", scene.server.log());
}

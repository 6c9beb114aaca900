//! What an attack needs on the server: queues and messages, by correct calls.

use std::time::Duration;

use futures_util::StreamExt as _;
use posthouse_proto::v1::{self, SettleAction};
use tonic::Code;

use super::{
    Prepare,
    calls::{DEAD, QUEUE},
    target::{LAST_QUEUE, Target},
};
use crate::harness::{eventually, scene::wire, site::Site, wire::Caller};

/// The concurrent calls.
const AT_ONCE: usize = 32;
/// The bytes of a large message.
const LARGE: usize = 1 << 20;

/// Creates the attacker's queue and what the attack needs.
pub async fn prepare(site: &Site, target: &Target, prepare: Prepare) {
    let caller = Caller::connect(site, &target.credentials).await;
    let settings = v1::SubscriptionSettings {
        max_attempts: 1_000,
        dead_letter_queue: Target::queue(DEAD),
        ..Default::default()
    };
    create(&caller, DEAD, v1::SubscriptionSettings { max_attempts: 1_000, ..Default::default() }).await;
    create(&caller, QUEUE, settings).await;
    match prepare {
        Prepare::Nothing => {}
        Prepare::Queues(count) => {
            let names = (0..count - 1).map(|number| format!("q{number:05}-{}", "n".repeat(50)));
            let names = names.chain([LAST_QUEUE.to_owned()]);
            let making = futures_util::stream::iter(names.map(|name| {
                let caller = caller.clone();
                async move { create(&caller, &name, v1::SubscriptionSettings::default()).await }
            }));
            making.buffer_unordered(AT_ONCE).collect::<()>().await;
        }
        Prepare::Messages(count) => {
            for _ in 0..count {
                publish(&caller, 1, LARGE).await;
            }
        }
        Prepare::DeadLetters(count) => {
            publish(&caller, count, 10).await;
            let mut dead = 0;
            while dead < count {
                dead += fail(&caller).await;
            }
        }
    }
}

async fn create(caller: &Caller, name: &str, settings: v1::SubscriptionSettings) {
    let queue =
        v1::Queue { name: Target::queue(name), default_subscription: Some(settings), ..v1::Queue::default() };
    let create = v1::CreateQueueRequest { queue: Some(queue), ..v1::CreateQueueRequest::default() };
    // The memory of an earlier attack may not be free yet.
    eventually("the queue", async || {
        match caller.queues().create_queue(caller.request(create.clone())).await {
            Ok(_) => Some(()),
            Err(status) if status.code() == Code::ResourceExhausted => None,
            Err(status) => {
                assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
                Some(())
            }
        }
    })
    .await;
}

async fn publish(caller: &Caller, count: usize, bytes: usize) {
    let message = || v1::NewMessage { payload: vec![b'm'; bytes].into(), ..v1::NewMessage::default() };
    let messages = (0..count).map(|_| message()).collect();
    let request = v1::PublishRequest { queue: Target::queue(QUEUE), messages, ..Default::default() };
    caller.publisher().publish(caller.request(request)).await.unwrap();
}

/// Dead-letters some messages; returns their number.
async fn fail(caller: &Caller) -> usize {
    let request = v1::ReceiveRequest {
        queue: Target::queue(QUEUE),
        max_messages: 1_000,
        wait: wire(Duration::from_secs(10)),
        ..Default::default()
    };
    let received = caller.consumer().receive(caller.request(request)).await.unwrap().into_inner();
    let settlements = received.deliveries.iter();
    let settlements: Vec<_> = settlements
        .map(|delivery| crate::harness::scene::settlement(delivery, SettleAction::DeadLetter))
        .collect();
    let count = settlements.len();
    assert!(count > 0, "the messages were published");
    let request = v1::SettleRequest { queue: Target::queue(QUEUE), settlements, ..Default::default() };
    caller.consumer().settle(caller.request(request)).await.unwrap();
    count
}

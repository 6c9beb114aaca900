//! Small and large messages in one queue.

use posthouse_proto::v1::{Delivery, NewMessage, PublishRequest};
use posthouse_tests::harness::{
    PATIENCE,
    scene::Scene,
    stream::{Stream, open},
};

const SESSION: [u8; 16] = [5; 16];
const SMALL: usize = 10;
/// 40 of them are several times what is read at once.
const LARGE: usize = 200_000;

fn sequence_and_bytes(delivery: &Delivery) -> (u64, usize) {
    let message = delivery.message.as_ref().unwrap();
    (message.sequence, message.payload.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_behind_many_small_ones_come_once_each_and_in_order() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut sizes = Vec::new();
    for (calls, count, bytes) in [(2, 300, SMALL), (4, 10, LARGE), (1, 3, SMALL), (1, 5, LARGE)] {
        for _ in 0..calls {
            let message = NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() };
            let messages = vec![message; count];
            sizes.extend(vec![bytes; count]);
            let request = PublishRequest { queue: queue.clone(), messages, ..PublishRequest::default() };
            scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
        }
    }
    let mut stream = Stream::open(&scene.caller, open(&queue, SESSION, 10_000)).await;
    let deliveries = tokio::time::timeout(PATIENCE, stream.deliveries(sizes.len())).await;
    let received: Vec<_> = deliveries.expect("all of them").iter().map(sequence_and_bytes).collect();
    assert_eq!(received, (1..).zip(sizes).collect::<Vec<_>>());
}

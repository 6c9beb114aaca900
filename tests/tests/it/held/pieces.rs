//! Small payloads that are stored longer than the large ones of their requests.

use posthouse_proto::v1::{NewMessage, PublishRequest, SettleAction};
use posthouse_tests::harness::scene::{LONG, Scene, settlement};

use super::{MIB, figure};

#[tokio::test(flavor = "multi_thread")]
async fn small_payloads_do_not_keep_the_requests_they_came_in() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let message = |bytes: usize| NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() };
    let mut peak = 0.0_f64;
    for round in 0..70 {
        let request = PublishRequest {
            queue: queue.clone(),
            messages: vec![message(1_000_000), message(1_000_000), message(1_000_000), message(100)],
            ..PublishRequest::default()
        };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
        for _ in 0..3 {
            let large = scene.receive(&queue, 1, LONG).await;
            scene.settled(&queue, settlement(&large[0], SettleAction::Ack)).await;
        }
        let small = scene.receive(&queue, 1, LONG).await;
        assert_eq!(small.len(), 1, "{round}");
        assert_eq!(small[0].message.as_ref().unwrap().payload.len(), 100);
        peak = peak.max(figure(&scene, "posthouse_held_bytes{what=\"kept\"}").await);
    }
    assert!(peak > 2.0 * MIB as f64, "{peak}: payloads are pieces of their requests while that is little");
    assert!(peak < 172.0 * MIB as f64, "{peak} bytes are kept for 7,000");
}

//! Small payloads that stay when the large ones of their requests are gone.

use posthouse_proto::v1::{NewMessage, PublishRequest, SettleAction, Settlement};
use posthouse_tests::harness::eventually;
use posthouse_tests::harness::scene::{LONG, Scene};

use super::{MIB, figure};

#[tokio::test(flavor = "multi_thread")]
async fn small_payloads_do_not_keep_the_requests_they_came_in() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let message = |bytes: usize| NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() };
    let mut most = 0.0_f64;
    for _ in 0..60 {
        let request = PublishRequest {
            queue: queue.clone(),
            messages: vec![message(39 << 16), message(39 << 15), message(100)],
            ..PublishRequest::default()
        };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
        let large = scene.receive(&queue, 2, LONG).await;
        assert_eq!(large.len(), 2);
        let ack = |token| Settlement { token, action: SettleAction::Ack.into(), ..Settlement::default() };
        scene.settle_all(&queue, large.into_iter().map(|one| ack(one.token)).collect()).await.unwrap();
        let small = scene.receive(&queue, 1, LONG).await;
        assert_eq!(small[0].message.as_ref().unwrap().payload.len(), 100);
        most = most.max(figure(&scene, "posthouse_held_bytes{what=\"kept\"}").await);
    }
    assert!(most > 100.0 * MIB as f64, "{most}: payloads are pieces of their requests while that is little");
    assert!(most < 172.0 * MIB as f64, "{most} bytes are kept for 6,000");
    let delete = posthouse_proto::v1::DeleteQueueRequest { name: queue, ..Default::default() };
    scene.caller.queues().delete_queue(scene.caller.request(delete)).await.unwrap();
    eventually("nothing is kept", async || {
        (figure(&scene, "posthouse_held_bytes{what=\"kept\"}").await < 8.0 * MIB as f64).then_some(())
    })
    .await;
}

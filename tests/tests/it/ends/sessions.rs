//! Streams and tokens of a deleted queue, while another queue has its name.

use posthouse_client::{Client, ErrorKind, NewMessage};
use posthouse_proto::v1::{self, SettleAction, publish_stream_response::batch_result::Outcome};
use posthouse_tests::harness::{
    PATIENCE,
    proxy::Proxy,
    publishing::{PublishStream, batch, open},
    refusal::{Refusal, assert_refused},
    scene::{LONG, Scene, message, queue_name, refused, settlement, text, wire},
    site::CIVIL,
    stream::{self, Stream},
};
use tonic::Code;

async fn delete(scene: &Scene, queue: &str) {
    let request = v1::DeleteQueueRequest { name: queue.to_owned(), ..v1::DeleteQueueRequest::default() };
    scene.caller.queues().delete_queue(scene.caller.request(request)).await.unwrap();
}

/// Deletes a queue and creates another under its name.
async fn replace(scene: &Scene) {
    delete(scene, &queue_name("q")).await;
    scene.plain_queue("q").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_on_a_queue_that_was_made_anew_hears_that_it_was_deleted() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for again in [false, true] {
        let mut stream = PublishStream::open(&scene.caller, open(&queue, None)).await;
        let before = stream.publish(batch(1, vec![message("old")])).await;
        assert!(matches!(before.outcome, Some(Outcome::Results(_))), "{before:?}");
        delete(&scene, &queue).await;
        if again {
            scene.plain_queue("q").await;
        }
        for id in 2..4 {
            match stream.publish(batch(id, vec![message("new")])).await.outcome {
                Some(Outcome::Error(status)) => {
                    let refusal = Refusal::from(&status);
                    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "QUEUE_DELETED"));
                }
                other => panic!("{other:?}"),
            }
        }
        stream.half_close();
        stream.end().await.unwrap();
        if again {
            assert_eq!(scene.stats(&queue).await.last_sequence, 0);
        } else {
            scene.plain_queue("q").await;
        }
    }
}

/// The name and uid of the queue, as the client crate reads them.
#[tokio::test(flavor = "multi_thread")]
async fn streams_tell_which_queue_they_are_on() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let uid = async || {
        let request = scene.caller.request(v1::GetQueueRequest { name: queue.clone() });
        scene.caller.queues().get_queue(request).await.unwrap().into_inner().uid
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let publishing = PublishStream::open(&scene.caller, open(&queue, None)).await.opened.queue_uid;
        let consuming = Stream::open(&scene.caller, stream::open(&queue, [1; 16], 0)).await.opened.queue_uid;
        assert_eq!((&publishing, &consuming), (&uid().await, &uid().await));
        seen.push(publishing);
        replace(&scene).await;
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_ends_when_its_queue_is_deleted_also_while_it_has_no_connection() {
    let scene = Scene::start().await;
    scene.plain_queue("q").await;
    for connected in [true, false] {
        let proxy = Proxy::to(scene.site.listen()).await;
        let client = Client::connect(proxy.context(&scene.site, CIVIL)).await.unwrap();
        let publisher = client.publisher("household-registry/q").open().await.unwrap();
        publisher.publish(NewMessage::new("old")).await.unwrap().await.unwrap();
        if !connected {
            proxy.cut();
        }
        replace(&scene).await;
        let ack = publisher.publish(NewMessage::new("new")).await.unwrap();
        let error = tokio::time::timeout(PATIENCE, ack).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("QUEUE_DELETED")), "{error}");
        assert!(!error.is_retryable());
        assert!(publisher.publish(NewMessage::new("later")).await.is_err(), "it has ended");
        assert_eq!(scene.stats(&queue_name("q")).await.last_sequence, 0, "connected: {connected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_ends_when_its_queue_is_deleted_also_while_it_has_no_connection() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for connected in [true, false] {
        let proxy = Proxy::to(scene.site.listen()).await;
        let client = Client::connect(proxy.context(&scene.site, CIVIL)).await.unwrap();
        let consumer = client.consumer("household-registry/q").open().await.unwrap();
        if !connected {
            proxy.refuse(true);
            proxy.cut();
        }
        replace(&scene).await;
        scene.publish(&queue, &["new"]).await;
        proxy.refuse(false);
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap();
        let error = next.expect_err("the consumer goes on with another queue");
        assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Some("QUEUE_DELETED")), "{error}");
        // It has nothing of the other queue.
        let delivery = scene.receive_one(&queue, LONG).await;
        assert_eq!((text(&delivery).as_str(), delivery.attempt), ("new", 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_old_queue_is_worth_nothing_on_the_new_one() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["old"]).await;
    let old = scene.receive_one(&queue, LONG).await;
    replace(&scene).await;
    scene.publish(&queue, &["new"]).await;
    // A lease with the same number.
    let new = scene.receive_one(&queue, LONG).await;
    for action in [SettleAction::Ack, SettleAction::Release] {
        let refusal = refused(&scene.settle(&queue, settlement(&old, action)).await);
        assert!(["LEASE_LOST", "DELIVERY_TOKEN_INVALID"].contains(&refusal.reason.as_str()), "{refusal:?}");
    }
    let extend = v1::ExtendLeasesRequest {
        queue: queue.clone(),
        tokens: vec![old.token],
        lease_duration: wire(LONG),
        ..v1::ExtendLeasesRequest::default()
    };
    let answer = scene.caller.consumer().extend_leases(scene.caller.request(extend)).await.unwrap();
    assert!(matches!(answer.into_inner().results[0].result, Some(v1::extend_result::Result::Error(_))));
    assert_eq!(scene.stats(&queue).await.in_flight, 1);
    scene.settled(&queue, settlement(&new, SettleAction::Ack)).await;
    delete(&scene, &queue).await;
    let settle = scene.settle_all(&queue, vec![settlement(&new, SettleAction::Ack)]).await;
    assert_refused(settle, Code::NotFound, "QUEUE_NOT_FOUND");
}

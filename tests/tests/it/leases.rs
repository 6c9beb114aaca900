//! Leases: who may settle, until when, and how attempts are counted.

use std::time::Duration;

use posthouse_proto::v1::{self, SettleAction, extend_result, settle_result};
use posthouse_tests::harness::scene::{LONG, SHORT, Scene, granted, only, refused, settlement, text, wire};

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_goes_to_another_with_the_next_attempt() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let first = scene.receive_one(&queue, SHORT).await;
    assert_eq!(first.attempt, 1);

    let second = scene.receive_one(&queue, LONG).await;
    assert_eq!((second.attempt, text(&second)), (2, "a".to_owned()));
    assert_ne!(first.token, second.token);
    assert_eq!(first.message, second.message);
    assert!(granted(&second, LONG) >= granted(&first, SHORT) + 1000);

    let late = scene.settle(&queue, settlement(&first, SettleAction::Ack)).await;
    assert_eq!(refused(&late).reason, "LEASE_LOST");
    scene.settled(&queue, settlement(&second, SettleAction::Ack)).await;
    let again = scene.settle(&queue, settlement(&second, SettleAction::Ack)).await;
    assert!(matches!(again, settle_result::Result::AlreadySettled(_)), "{again:?}");
    let late = scene.settle(&queue, settlement(&first, SettleAction::Ack)).await;
    assert_eq!(refused(&late).reason, "SETTLED_BY_ANOTHER");
    assert!(scene.receive_now(&queue, 10).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_counts_and_waits_for_its_delay() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let first = scene.receive_one(&queue, LONG).await;
    let delay = wire(Duration::from_secs(2));
    scene.settled(&queue, v1::Settlement { delay, ..settlement(&first, SettleAction::Nack) }).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.waiting), (0, 0, 1));

    let second = scene.receive_one(&queue, LONG).await;
    assert_eq!(second.attempt, 2);
    assert!(granted(&second, LONG) >= granted(&first, LONG) + 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_does_not_count() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    for _ in 0..3 {
        let delivery = scene.receive_one(&queue, LONG).await;
        assert_eq!(delivery.attempt, 1);
        scene.settled(&queue, settlement(&delivery, SettleAction::Release)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_only_moves_a_deadline_later() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let delivery = scene.receive_one(&queue, Duration::from_secs(30)).await;
    let extend = |seconds| {
        let request = v1::ExtendLeasesRequest {
            queue: queue.clone(),
            tokens: vec![delivery.token.clone(), vec![7; 20].into()],
            lease_duration: wire(Duration::from_secs(seconds)),
            ..v1::ExtendLeasesRequest::default()
        };
        let request = scene.caller.request(request);
        let mut consumer = scene.caller.consumer();
        async move {
            let results = consumer.extend_leases(request).await.unwrap().into_inner().results;
            results.into_iter().map(|result| result.result.unwrap()).collect::<Vec<_>>()
        }
    };
    let before = delivery.lease_deadline.unwrap();
    let results = extend(60).await;
    let [extend_result::Result::LeaseDeadline(later), extend_result::Result::Error(stray)] = &results[..]
    else {
        panic!("{results:?}")
    };
    assert!(later.seconds >= before.seconds + 29, "{before:?} {later:?}");
    let refusal = posthouse_tests::harness::refusal::Refusal::from(stray);
    assert_eq!(refusal.reason, "DELIVERY_TOKEN_INVALID");
    let results = extend(1).await;
    assert_eq!(results[0], extend_result::Result::LeaseDeadline(*later));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_does_not_spoil_its_neighbours() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    let deliveries = scene.receive(&queue, 10, LONG).await;
    let mut settlements: Vec<_> =
        deliveries.iter().map(|delivery| settlement(delivery, SettleAction::Ack)).collect();
    let mut stray = settlements[0].clone();
    stray.token = b"no token".to_vec().into();
    settlements.insert(1, stray);
    let results = scene.settle_all(&queue, settlements).await.unwrap().into_inner().results;
    assert!(matches!(results[0].result, Some(settle_result::Result::Settled(_))), "{results:?}");
    let refusal = refused(results[1].result.as_ref().unwrap());
    assert_eq!(refusal.reason, "DELIVERY_TOKEN_INVALID");
    assert!(matches!(only(results[2..].to_vec()), settle_result::Result::Settled(_)), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_settlements_outlive_a_crash() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    let deliveries = scene.receive(&queue, 2, LONG).await;
    scene.settled(&queue, settlement(&deliveries[0], SettleAction::Ack)).await;
    scene.crash().await;

    let rest = scene.receive_now(&queue, 10).await;
    assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["c"]);
    let again = scene.settle(&queue, settlement(&deliveries[0], SettleAction::Ack)).await;
    assert!(matches!(again, settle_result::Result::AlreadySettled(_)), "{again:?}");
    scene.settled(&queue, settlement(&deliveries[1], SettleAction::Ack)).await;
    scene.settled(&queue, settlement(&rest[0], SettleAction::Ack)).await;
    let stats = scene.stats(&queue).await;
    assert_eq!((stats.ready, stats.in_flight, stats.waiting, stats.parked), (0, 0, 0, 0));
    // And no sequence is used again.
    assert_eq!(scene.publish(&queue, &["d"]).await, [4]);
}

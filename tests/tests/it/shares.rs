//! Ready messages are shared by the consumers that wait for them.

use posthouse_tests::harness::{
    scene::Scene,
    stream::{Stream, open},
    wire::Caller,
};

const COUNT: usize = 100;

/// Opens consumers with credit for everything, each on a connection of its own.
async fn consumers(scene: &Scene, queue: &str, count: u8) -> Vec<Stream> {
    let mut streams = Vec::new();
    for number in 0..count {
        let caller = Caller::connect(&scene.site, &scene.credentials).await;
        streams.push(Stream::open(&caller, open(queue, [number; 16], 100)).await);
    }
    streams
}

/// Receives all messages; returns how many each consumer received.
async fn shares(streams: &mut [Stream]) -> Vec<usize> {
    let mut shares = Vec::new();
    for stream in streams.iter_mut() {
        // A consumer without any would make this wait for ever.
        shares.push(stream.deliveries(1).await.len());
    }
    loop {
        for (stream, share) in streams.iter_mut().zip(&mut shares) {
            let frames = stream.until_pong().await;
            *share += frames.iter().map(deliveries).sum::<usize>();
        }
        if shares.iter().sum::<usize>() >= COUNT {
            return shares;
        }
    }
}

fn deliveries(frame: &posthouse_proto::v1::consume_response::Frame) -> usize {
    match frame {
        posthouse_proto::v1::consume_response::Frame::Deliveries(batch) => batch.deliveries.len(),
        _ => 0,
    }
}

fn assert_fair(shares: &[usize]) {
    assert_eq!(shares.iter().sum::<usize>(), COUNT);
    assert!(shares.iter().all(|share| (20..=30).contains(share)), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_is_shared_by_idle_consumers() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut streams = consumers(&scene, &queue, 4).await;
    scene.publish(&queue, &["x"; COUNT]).await;
    assert_fair(&shares(&mut streams).await);
}

/// The leases of a consumer that ends cleanly are free again, and the others share them.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_shared_by_idle_consumers() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["x"; COUNT]).await;
    let mut first = Stream::open(&scene.caller, open(&queue, [9; 16], 100)).await;
    first.deliveries(COUNT).await;
    let mut streams = consumers(&scene, &queue, 4).await;
    first.half_close();
    first.end().await.unwrap();
    assert_fair(&shares(&mut streams).await);
}

/// Single messages go to the consumers in turn.
#[tokio::test(flavor = "multi_thread")]
async fn single_messages_go_round() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut streams = consumers(&scene, &queue, 4).await;
    for _ in 0..COUNT {
        scene.publish(&queue, &["x"]).await;
    }
    assert_fair(&shares(&mut streams).await);
}

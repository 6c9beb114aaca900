//! Floods of empty HTTP/2 frames, and of many small correct ones.

use bytes::Bytes;
use posthouse_proto::v1::{NewMessage, PublishRequest, PublishResponse};
use posthouse_tests::harness::{
    eventually,
    frames::frame,
    http2::{Frame, Http2, data, message},
    probe::{scrape, value},
    scene::Scene,
    site::TAXATION,
};
use prost::Message;

const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// Sends a frame some thousands of times, and waits for the end of the connection.
async fn flood(scene: &Scene, kind: &str, frame: &Bytes) {
    let mut http = Http2::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    http.begin(1, "/posthouse.v1.Publisher/PublishStream").await;
    let many = vec![frame.clone(); 250];
    // The answers are few enough to wait in the sockets.
    for _ in 0..20 {
        http.send(&many).await;
    }
    while !matches!(http.next().await, Frame::Closed) {}
    eventually(kind, async || {
        let metrics = scrape(scene.site.management()).await;
        let series = format!("posthouse_connections_flooded_total{{kind=\"{kind}\"}}");
        (value(&metrics, &series) >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_control_frames_end_their_connection_and_no_other() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let zero = |kind, payload: &[u8]| frame(kind, 0, 0, payload);
    flood(&scene, "ping", &zero(PING, &[0; 8])).await;
    flood(&scene, "ping", &frame(PING, 1, 0, &[0; 8])).await;
    flood(&scene, "settings", &zero(SETTINGS, &[])).await;
    flood(&scene, "window_update", &zero(WINDOW_UPDATE, &[0, 0, 0, 1])).await;
    flood(&scene, "window_update", &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
    flood(&scene, "priority", &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7])).await;
    flood(&scene, "other", &zero(0x2a, b"anything")).await;
    scene.publish(&queue, &["a"]).await;
    assert_eq!(scene.caller.connections(), 1);
    let log = scene.server.log();
    assert!(log.contains("more control frames than the data that moves accounts for"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_again_and_again_end_their_connection() {
    let scene = Scene::start().await;
    let mut http = Http2::connect(&scene.site, &scene.credentials).await;
    'flood: for batch in 0..1_000_u32 {
        // Few enough at once for the library, which counts only streams that have not begun.
        for call in 0..10 {
            let stream = 2 * (batch * 10 + call) + 1;
            let head = http.head(stream, "/posthouse.v1.Consumer/Consume", &[]);
            http.send(&[head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]).await;
        }
        http.ping().await;
        loop {
            match http.next().await {
                Frame::Pong => break,
                Frame::Closed => break 'flood,
                _ => {}
            }
        }
    }
    assert_eq!(http.next().await, Frame::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_byte_by_byte_are_answered() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut http = Http2::connect(&scene.site, &scene.credentials).await;
    let one = NewMessage { payload: vec![b'x'; 9_000].into(), ..NewMessage::default() };
    let request = PublishRequest { queue, messages: vec![one], ..PublishRequest::default() };
    let bytes = message(&request);
    // On two streams in turn, all at once: each byte is a frame, which the library counts as 256.
    let mut frames = Vec::new();
    for stream in [1, 3] {
        http.begin(stream, "/posthouse.v1.Publisher/Publish").await;
    }
    for byte in &bytes {
        frames.extend([1, 3].map(|stream| data(stream, &[*byte], false)));
    }
    frames.extend([1, 3].map(|stream| data(stream, &[], true)));
    http.send(&frames).await;
    let mut answers = 0;
    while answers < 2 {
        match http.next().await {
            Frame::Data(_, answer, _) => {
                let answer = PublishResponse::decode(&answer[5..]).unwrap();
                assert_eq!(answer.results.len(), 1);
                answers += 1;
            }
            Frame::Head(..) | Frame::Other | Frame::Pong => {}
            frame => panic!("{frame:?}"),
        }
    }
}

//! One agency's callers cannot keep another agency from being served.

use std::time::Duration;

use posthouse_tests::harness::{
    PATIENCE,
    http2::{Frame, Http2},
    probe::get,
    scene::Scene,
    site::{Site, TAXATION},
};

/// More than there are slots for access records.
const CHANGES: usize = 4_200;
/// Calls of a connection.
const OF_A_CONNECTION: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn changes_whose_request_never_comes_hold_no_places_for_records() {
    let site = Site::with_sections("[access]\nfile = \"access.jsonl\"\nrecords = \"all\"\n");
    let scene = Scene::on(site).await;
    let queue = scene.plain_queue("q").await;
    let stranger = scene.site.credentials(TAXATION);
    let mut connections = Vec::new();
    for _ in 0..CHANGES / OF_A_CONNECTION {
        let mut http = Http2::connect(&scene.site, &stranger).await;
        for call in 0..OF_A_CONNECTION {
            http.begin(u32::try_from(2 * call + 1).unwrap(), "/posthouse.v1.Queues/CreateQueue").await;
        }
        http.ping().await;
        loop {
            match http.next().await {
                Frame::Pong => break,
                Frame::Other => {}
                frame => panic!("{frame:?}: the call does not wait for its request"),
            }
        }
        connections.push(http);
    }
    let served = async {
        scene.plain_queue("made-meanwhile").await;
        scene.publish(&queue, &["a"]).await;
        scene.receive_one(&queue, Duration::from_secs(30)).await
    };
    tokio::time::timeout(PATIENCE, served).await.expect("others are served");
    assert_eq!(get(scene.site.management(), "/readyz").await.unwrap().status, 200);
}

//! Answers that a client does not read.

use posthouse_proto::v1::{
    ConsumeRequest, Credit, NewMessage, OpenConsume, PublishRequest, ReceiveRequest, SettleFrame, Settlement,
    consume_request,
};
use posthouse_tests::harness::{
    eventually,
    http2::{CANCEL, Frame, Http2, data, message, stream_windows},
    scene::{LONG, Scene, wire},
    site::CIVIL,
};

use super::{MIB, figure};

const CONSUME: &str = "/posthouse.v1.Consumer/Consume";
const RECEIVE: &str = "/posthouse.v1.Consumer/Receive";

fn frame(frame: consume_request::Frame) -> Vec<u8> {
    message(&ConsumeRequest { frame: Some(frame) }).to_vec()
}

fn open(queue: &str, session: u8, messages: u32) -> Vec<u8> {
    frame(consume_request::Frame::Open(OpenConsume {
        protocol_version: 1,
        queue: queue.to_owned(),
        session_id: vec![session; 16].into(),
        credit: Some(Credit { messages, bytes: 0 }),
        lease_duration: wire(LONG),
        ..OpenConsume::default()
    }))
}

/// A thousand settlements of two bytes, each of which is answered with an error.
fn malformed() -> Vec<u8> {
    let settlements = vec![Settlement::default(); 1_000];
    frame(consume_request::Frame::Settle(SettleFrame { settlements, ..SettleFrame::default() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_are_bounded_and_end_their_call_and_unread_deliveries_do_not() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let messages = vec![NewMessage { payload: vec![7; 200_000].into(), ..NewMessage::default() }; 4];
    let request = PublishRequest { queue: queue.clone(), messages, ..PublishRequest::default() };
    scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
    let mut http = Http2::connect(&scene.site, &scene.site.credentials(CIVIL)).await;
    http.send(&[stream_windows(0)]).await;
    // The server's windows apply once they are acknowledged, which reading does.
    http.ping().await;
    while http.next().await != Frame::Pong {}
    // One stream does not read its deliveries, one its answers, and one the messages it received.
    let heads = [http.head(1, CONSUME, &[]), http.head(3, CONSUME, &[]), http.head(5, RECEIVE, &[])];
    http.send(&heads[..1]).await;
    http.send(&[data(1, &open(&queue, 1, 2), false)]).await;
    eventually("its leases", async || (scene.stats(&queue).await.in_flight == 2).then_some(())).await;
    let receive = ReceiveRequest {
        queue: queue.clone(),
        max_messages: 2,
        lease_duration: wire(LONG),
        ..Default::default()
    };
    http.send(&heads[1..]).await;
    http.send(&[data(3, &open(&queue, 2, 0), false), data(5, &message(&receive), true)]).await;
    for _ in 0..300 {
        http.send(&[data(3, &malformed(), false)]).await;
    }
    eventually("unread deliveries", async || {
        (figure(&scene, "posthouse_held_bytes{what=\"deliveries\"}").await >= 800_000.0).then_some(())
    })
    .await;
    let held = figure(&scene, "posthouse_held_bytes{what=\"requests\"}").await;
    assert!(held < 4.0 * MIB as f64, "{held} bytes are held for answers of 600 KB of requests");
    let mut reset = Vec::new();
    while reset.len() < 2 {
        match http.next().await {
            Frame::Reset(stream, code) => reset.push((stream, code)),
            Frame::GoAway(_) | Frame::Closed => panic!("the connection has ended, after {reset:?}"),
            _ => {}
        }
    }
    reset.sort_unstable();
    assert_eq!(reset, [(3, CANCEL), (5, CANCEL)]);
    assert_eq!(figure(&scene, "posthouse_answers_unread_total").await, 2.0);
    // The connection and the stream with the deliveries are still open, and the unread received messages are free
    // again.
    http.ping().await;
    loop {
        match http.next().await {
            Frame::Pong => break,
            Frame::Reset(1, _) | Frame::GoAway(_) | Frame::Closed => panic!("unread deliveries end nothing"),
            _ => {}
        }
    }
    eventually("the receive's leases to go back", async || {
        let stats = scene.stats(&queue).await;
        (stats.in_flight == 2 && stats.ready == 2).then_some(())
    })
    .await;
    drop(http);
    eventually("all to be given back", async || {
        let held = figure(&scene, "posthouse_held_bytes{what=\"deliveries\"}").await;
        (held + figure(&scene, "posthouse_held_bytes{what=\"requests\"}").await == 0.0).then_some(())
    })
    .await;
}

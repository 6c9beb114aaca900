//! Bytes that a client's windows hold back are not sent, and an answer that they block has not ended.

use posthouse_proto::v1::{
    NewMessage, OpenConsume, PublishRequest, ReceiveRequest, SettleAction, SubscriptionSettings,
    consume_request,
};
use posthouse_tests::harness::{
    eventually,
    http2::{CANCEL, Frame, data, message, reset, stream_windows, window},
    scene::{LONG, SHORT, Scene, settlement, wire},
    stream::{Stream, open},
};

use super::{CALL, CONSUME, PREFIX_BYTES, Raw, brief, consuming};

/// A queue that dead-letters messages after one attempt of a second.
async fn once_queue(scene: &Scene, name: &str) -> String {
    let settings = SubscriptionSettings {
        max_attempts: 1,
        lease_duration: wire(SHORT),
        ..SubscriptionSettings::default()
    };
    scene.queue(name, settings).await
}

async fn publish_large(scene: &Scene, queue: &str, count: usize, bytes: usize) {
    for _ in 0..count {
        let messages = vec![NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() }];
        let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
    }
}

/// Opens a consume stream with a window of this size, and reads nothing.
async fn begin(scene: &Scene, open: OpenConsume, bytes: u32) -> Raw {
    let mut raw = Raw::connect(scene).await;
    let head = raw.http.head(CALL, CONSUME, &[]);
    raw.http.send(&[stream_windows(bytes), head, consuming(consume_request::Frame::Open(open))]).await;
    raw
}

/// Reads this many bytes of a stream's data.
async fn read(raw: &mut Raw, stream: u32, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < bytes {
        match raw.http.next().await {
            Frame::Data(of, data, _) if of == stream => read.extend(data),
            Frame::Reset(..) | Frame::Closed => panic!("after {} of {bytes} bytes", read.len()),
            _ => {}
        }
    }
    assert_eq!(read.len(), bytes, "the server keeps to the window");
    read
}

async fn in_flight(scene: &Scene, queue: &str, count: u64) {
    eventually("the leases", async || (scene.stats(queue).await.in_flight == count).then_some(())).await;
}

/// The size of an Opened without resumed leases, with its prefix.
async fn opened_bytes(scene: &Scene) -> usize {
    let queue = once_queue(scene, "measured").await;
    let mut raw = begin(scene, brief(&queue, [7; 16], 0), 65_535).await;
    loop {
        if let Frame::Data(CALL, bytes, _) = raw.http.next().await {
            return bytes.len();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_which_no_byte_was_sent_is_not_given_up_however_small_the_window() {
    const COUNT: u64 = 300;
    let scene = Scene::start().await;
    let opened = opened_bytes(&scene).await;
    // One byte belongs to the first message, which the client may have received. It cannot have received those behind
    // it in the frame.
    for (more, tried) in [(0, 0), (1, 1), (90, 1)] {
        let queue = once_queue(&scene, &format!("q-{more}")).await;
        let texts = vec!["a"; COUNT as usize];
        scene.publish(&queue, &texts).await;
        let bytes = opened + more;
        let mut raw = begin(&scene, brief(&queue, [9; 16], COUNT as u32), bytes as u32).await;
        read(&mut raw, CALL, bytes).await;
        in_flight(&scene, &queue, COUNT).await;
        raw.http.send(&[reset(CALL, CANCEL)]).await;
        let stats = eventually("the end of all leases", async || {
            let stats = scene.stats(&queue).await;
            (stats.in_flight == 0).then_some(stats)
        })
        .await;
        assert_eq!((stats.ready, stats.parked), (COUNT - tried, tried), "{more} bytes more than Opened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_stream_leaves_no_room_for_on_the_connection_is_not_given_up() {
    const OTHER: u32 = 3;
    const COUNT: u64 = 100;
    let scene = Scene::start().await;
    let (small, large) = (once_queue(&scene, "small").await, scene.plain_queue("large").await);
    publish_large(&scene, &large, 4, 60_000).await;
    // The initial window.
    const CONNECTION: usize = 65_535;
    let mut raw = Raw::connect(&scene).await;
    let head = raw.http.head(CALL, CONSUME, &[]);
    raw.http.send(&[head, consuming(consume_request::Frame::Open(brief(&small, [1; 16], 200)))]).await;
    let mut written = loop {
        if let Frame::Data(CALL, bytes, _) = raw.http.next().await {
            break bytes.len();
        }
    };
    let frame = consume_request::Frame::Open(open(&large, [2; 16], 10));
    let request = message(&posthouse_proto::v1::ConsumeRequest { frame: Some(frame) });
    let head = raw.http.head(OTHER, CONSUME, &[]);
    raw.http.send(&[head, data(OTHER, &request, false)]).await;
    // The frame that reports the small queue as idle may be on its own, and uses its part of the connection's window.
    while written < CONNECTION {
        match raw.http.next().await {
            Frame::Data(_, bytes, _) => written += bytes.len(),
            Frame::Reset(..) | Frame::Closed => panic!("after {written} of {CONNECTION} bytes"),
            _ => {}
        }
    }
    scene.publish(&small, &vec!["a"; COUNT as usize]).await;
    in_flight(&scene, &small, COUNT).await;
    raw.http.send(&[reset(CALL, CANCEL)]).await;
    let stats = eventually("the end of all leases", async || {
        let stats = scene.stats(&small).await;
        (stats.in_flight == 0).then_some(stats)
    })
    .await;
    assert_eq!((stats.ready, stats.parked), (COUNT, 0));
    // The frame that used up the window was sent in part: its first message counts as tried.
    raw.http.send(&[reset(OTHER, CANCEL)]).await;
    eventually("what goes back", async || {
        let stats = scene.stats(&large).await;
        ((stats.in_flight, stats.ready) == (1, 3)).then_some(())
    })
    .await;
}

/// A stream that holds one small message and whose window blocks large ones behind it.
async fn stuck(scene: &Scene, queue: &str, bytes: Option<u32>) -> Raw {
    scene.publish(queue, &["held"]).await;
    let mut raw = Raw::connect(scene).await;
    let head = raw.http.head(CALL, CONSUME, &[]);
    raw.http.send(&[head, consuming(consume_request::Frame::Open(open(queue, [1; 16], 4)))]).await;
    let mut read_bytes = 0;
    let held = loop {
        if let Frame::Data(CALL, bytes, _) = raw.http.next().await {
            read_bytes += bytes.len();
            raw.answer.extend(bytes);
        }
        let text = b"held";
        if raw.answer.windows(text.len()).any(|some| some == text) {
            break read_bytes;
        }
    };
    let initial = bytes.map_or(65_535, |bytes| held as u32 + bytes);
    raw.http.send(&[stream_windows(initial)]).await;
    raw.http.ping().await;
    while raw.http.next().await != Frame::Pong {}
    publish_large(scene, queue, 3, 100_000).await;
    in_flight(scene, queue, 4).await;
    read(&mut raw, CALL, initial as usize - held).await;
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_close_and_a_cancel_while_the_answer_is_stuck_are_no_clean_end() {
    let scene = Scene::start().await;
    let scene = &scene;
    let rounds = [Some(0), Some(1), Some(100), Some(1_000), None].into_iter().map(|bytes| async move {
        let queue = scene.plain_queue(&format!("q-{}", bytes.unwrap_or(65_535))).await;
        let mut raw = stuck(scene, &queue, bytes).await;
        raw.http.send(&[data(CALL, &[], true)]).await;
        // For longer than the server waits for a cancel to follow.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(1);
        while std::time::Instant::now() < until {
            assert!(scene.stats(&queue).await.in_flight > 0, "{bytes:?}: no end could be seen");
        }
        raw.http.send(&[reset(CALL, CANCEL)]).await;
        // The messages that were read, and the first of those being sent.
        let still_leased = if bytes == Some(0) { 1 } else { 2 };
        in_flight(scene, &queue, still_leased).await;
        let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 0)).await;
        assert_eq!(u64::from(stream.opened.resumed_leases), still_leased, "{bytes:?}");
        let resumed = stream.deliveries(still_leased as usize).await;
        assert!(resumed.iter().all(|delivery| delivery.resumed && delivery.attempt == 1), "{bytes:?}");
        scene.settled(&queue, settlement(&resumed[0], SettleAction::Ack)).await;
    });
    futures_util::future::join_all(rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_close_whose_answer_is_read_later_is_a_clean_end_once_it_is_read() {
    let scene = Scene::start().await;
    let scene = &scene;
    let rounds = [Some(0), Some(1), Some(100), Some(1_000), None].into_iter().map(|bytes| async move {
        let queue = scene.plain_queue(&format!("q-{}", bytes.unwrap_or(65_535))).await;
        let mut raw = stuck(scene, &queue, bytes).await;
        raw.http.send(&[data(CALL, &[], true)]).await;
        raw.http.ping().await;
        while raw.http.next().await != Frame::Pong {}
        raw.http.send(&[window(0, 1 << 20), window(CALL, 1 << 20)]).await;
        while !matches!(raw.http.next().await, Frame::Head(CALL, true)) {}
        eventually("the release", async || {
            let stats = scene.stats(&queue).await;
            ((stats.ready, stats.in_flight) == (4, 0)).then_some(())
        })
        .await;
        let again = scene.receive(&queue, 4, LONG).await;
        assert!(again.iter().all(|delivery| delivery.attempt == 1), "{bytes:?}");
    });
    futures_util::future::join_all(rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_whose_last_byte_is_stuck_leaves_no_lease_and_one_that_ended_does() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for (size, missing, still_leased) in [(40_000, 1, 0), (10, 1, 0), (40_000, 0, 1)] {
        publish_large(&scene, &queue, 1, size).await;
        let mut raw = Raw::connect(&scene).await;
        let request = ReceiveRequest {
            queue: queue.clone(),
            max_messages: 1,
            lease_duration: wire(LONG),
            ..ReceiveRequest::default()
        };
        let head = raw.http.head(CALL, "/posthouse.v1.Consumer/Receive", &[]);
        let body = data(CALL, &message(&request), true);
        raw.http.send(&[stream_windows(PREFIX_BYTES as u32), head, body]).await;
        let prefix = read(&mut raw, CALL, PREFIX_BYTES).await;
        let rest = u32::from_be_bytes(prefix[1..].try_into().unwrap()) - missing;
        raw.http.send(&[window(CALL, rest)]).await;
        read(&mut raw, CALL, rest as usize).await;
        if still_leased == 1 {
            while !matches!(raw.http.next().await, Frame::Head(CALL, true)) {}
        }
        raw.http.send(&[reset(CALL, CANCEL)]).await;
        in_flight(&scene, &queue, still_leased).await;
        raw.http.ping().await;
        while raw.http.next().await != Frame::Pong {}
        for delivery in scene.receive_now(&queue, 10).await {
            assert_eq!(delivery.attempt, 1);
            scene.settled(&queue, settlement(&delivery, SettleAction::Ack)).await;
        }
    }
}

/// More leases than one command may settle are granted ahead to a client that does not read.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_leases_that_never_left_go_back_and_halt_nothing() {
    const COUNT: usize = 4_000;
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..COUNT / 500 {
        scene.publish(&queue, &["a"; 500]).await;
    }
    for session in [1, 2] {
        let mut raw = begin(&scene, open(&queue, [session; 16], 5_000), 0).await;
        eventually("leases", async || (scene.stats(&queue).await.in_flight > 1_500).then_some(())).await;
        raw.http.send(&[reset(CALL, CANCEL)]).await;
        in_flight(&scene, &queue, 0).await;
        // What is in the log is applied again.
        scene.crash().await;
    }
    let mut count = 0;
    while count < COUNT {
        let received = scene.receive(&queue, 500, LONG).await;
        assert!(!received.is_empty() && received.iter().all(|delivery| delivery.attempt == 1));
        count += received.len();
    }
}

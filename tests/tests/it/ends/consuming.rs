//! Consume streams: only END_STREAM, followed by a wait for the answers, is a clean end.

use std::time::Duration;

use posthouse_proto::v1::{
    self, Delivery, NewMessage, PublishRequest, consume_request, consume_response as out, settle_result,
};
use posthouse_tests::harness::{
    PATIENCE, eventually,
    http2::{self, CANCEL, INTERNAL_ERROR, NO_ERROR, data, reset, stream_windows, trailers},
    scene::{LONG, SHORT, Scene, settlement, text, wire},
    site::CIVIL,
    stream::{Stream, open},
    wire::Caller,
};

use super::{CALL, Raw, ack, brief, consuming, short_queue};

/// The unclean ends of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Reset(u32),
    /// A part of a frame, and then the end of the client's side.
    Half,
    HalfAndReset(u32),
    /// A part of a frame, and then trailers.
    HalfAndTrailers,
    /// The client's side is ended, and the call cancelled with the same write.
    EndAndReset(u32),
    /// The client's side is ended, and the call cancelled with a second write, as Node does it.
    EndThenReset(u32),
    /// The client's side is ended, and the call cancelled with the same write, while the answer to an extension is due.
    EndAndResetWhileAnswering,
    /// TCP's FIN, without the end of TLS.
    Fin,
    /// TCP's RST.
    Cut,
    /// TLS is ended, and the stream is not.
    CloseNotify,
}

const WAYS: [Way; 14] = [
    Way::Reset(CANCEL),
    Way::Reset(NO_ERROR),
    Way::Reset(INTERNAL_ERROR),
    Way::Half,
    Way::HalfAndReset(CANCEL),
    Way::HalfAndReset(NO_ERROR),
    Way::HalfAndTrailers,
    Way::EndAndReset(CANCEL),
    Way::EndAndReset(NO_ERROR),
    Way::EndThenReset(CANCEL),
    Way::EndAndResetWhileAnswering,
    Way::Fin,
    Way::Cut,
    Way::CloseNotify,
];

impl Way {
    /// Ends a stream that holds these deliveries.
    async fn end(self, mut raw: Raw, held: &[Delivery]) {
        let ping = consuming(consume_request::Frame::Ping(v1::Ping { ping_id: 9 }));
        // Without its last byte, so that END_STREAM is in a frame of its own.
        let half = data(CALL, &ping[9..ping.len() - 1], false);
        let end = data(CALL, &[], true);
        let frames = match self {
            Self::Reset(code) => vec![reset(CALL, code)],
            Self::Half => vec![half, end],
            Self::HalfAndReset(code) => vec![half, reset(CALL, code)],
            Self::HalfAndTrailers => vec![half, trailers(CALL)],
            Self::EndAndReset(code) => vec![end, reset(CALL, code)],
            Self::EndThenReset(code) => {
                raw.http.send(&[end]).await;
                vec![reset(CALL, code)]
            }
            Self::EndAndResetWhileAnswering => {
                // It is durable before it is answered, and a deadline only moves later.
                let tokens = vec![held[0].token.clone()];
                let extend = v1::ExtendFrame { extend_id: 1, tokens, lease_duration: wire(SHORT) };
                vec![consuming(consume_request::Frame::Extend(extend)), end, reset(CALL, CANCEL)]
            }
            Self::Fin => return drop(raw.http.into_tcp()),
            Self::Cut => {
                let tcp = raw.http.into_tcp();
                tcp.set_zero_linger().unwrap();
                return drop(tcp);
            }
            Self::CloseNotify => return raw.http.farewell().await,
        };
        raw.http.send(&frames).await;
        // The connection stays open, so the server sees the end of the stream alone.
        tokio::spawn(async move {
            raw.http.ping().await;
            loop {
                if raw.http.next().await == http2::Frame::Closed {
                    return;
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_end_counts_an_attempt_when_the_lease_runs_out_until_the_message_is_given_up() {
    let scene = Scene::start().await;
    let scene = &scene;
    let rounds = WAYS.iter().enumerate().map(|(number, way)| async move {
        let (queue, letters) = short_queue(scene, &format!("q-{number}")).await;
        scene.publish(&queue, &["poison"]).await;
        let mut attempts = Vec::new();
        for session in 1..=3 {
            // The next stream of the session waits until the lease of the one before has expired.
            let mut raw = Raw::consume(scene, brief(&queue, [session; 16], 1)).await;
            let held = raw.deliveries(1).await;
            attempts.push(held[0].attempt);
            way.end(raw, &held).await;
        }
        assert_eq!(attempts, [1, 2, 3], "{way:?}");
        let letter = scene.receive_one(&letters, LONG).await;
        let origin = letter.message.clone().unwrap().dead_letter.unwrap();
        assert_eq!((text(&letter).as_str(), origin.attempts), ("poison", 3), "{way:?}");
        assert_eq!(origin.reason, i32::from(v1::DeadLetterReason::MaxAttempts), "{way:?}");
    });
    futures_util::future::join_all(rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_end_keeps_the_leases_for_the_session() {
    let scene = Scene::start().await;
    let scene = &scene;
    let rounds = WAYS.iter().enumerate().map(|(number, way)| async move {
        let queue = scene.plain_queue(&format!("q-{number}")).await;
        scene.publish(&queue, &["a", "b"]).await;
        let mut raw = Raw::consume(scene, open(&queue, [1; 16], 2)).await;
        let held = raw.deliveries(2).await;
        way.end(raw, &held).await;
        // Nothing is released when the server has seen the end, either.
        for _ in 0..20 {
            assert_eq!(scene.stats(&queue).await.in_flight, 2, "{way:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let caller = Caller::connect(&scene.site, &scene.credentials).await;
        let mut stream = Stream::open(&caller, open(&queue, [1; 16], 0)).await;
        assert_eq!(stream.opened.resumed_leases, 2, "{way:?}");
        let resumed = stream.deliveries(2).await;
        assert!(resumed.iter().all(|delivery| delivery.resumed && delivery.attempt == 1), "{way:?}");
        let tokens = |deliveries: &[Delivery]| deliveries.iter().map(|d| d.token.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&resumed), tokens(&held), "{way:?}");
    });
    futures_util::future::join_all(rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_stream_releases_uncounted_when_the_answers_were_taken() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b", "c"]).await;
    for (session, rest) in [(1, 3), (2, 2), (3, 1)] {
        let mut raw = Raw::consume(&scene, open(&queue, [session; 16], 3)).await;
        let held = raw.deliveries(rest).await;
        assert!(held.iter().all(|delivery| delivery.attempt == 1), "{held:?}");
        // With the settlement or after it, in one write or in two.
        match session {
            1 => raw.http.send(&[ack(&held[0]), data(CALL, &[], true)]).await,
            2 => {
                let whole = ack(&held[0]);
                raw.http.send(&[data(CALL, &whole[9..], true)]).await;
            }
            _ => {
                raw.http.send(&[ack(&held[0])]).await;
                raw.http.send(&[data(CALL, &[], true)]).await;
            }
        }
        let settled = loop {
            match raw.next().await.expect("the settlement is answered") {
                out::Frame::Settled(settled) => break settled,
                out::Frame::Idle(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(settled.all_settled, 1);
        assert_eq!(raw.next().await, None);
        eventually("the release", async || {
            let stats = scene.stats(&queue).await;
            ((stats.ready, stats.in_flight) == (rest as u64 - 1, 0)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_that_came_before_a_cancel_are_made() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for round in 1..=20 {
        scene.publish(&queue, &["a", "b"]).await;
        let mut raw = Raw::consume(&scene, open(&queue, [round; 16], 2)).await;
        let held = raw.deliveries(2).await;
        // The answer to a ping may be on its way, too.
        let ping = consuming(consume_request::Frame::Ping(v1::Ping { ping_id: 9 }));
        raw.http.send(&[ping, ack(&held[0]), reset(CALL, CANCEL)]).await;
        eventually("the settlement", async || (scene.stats(&queue).await.in_flight == 1).then_some(())).await;
        let again = scene.settle(&queue, settlement(&held[0], v1::SettleAction::Ack)).await;
        assert!(matches!(again, settle_result::Result::AlreadySettled(_)), "{again:?}");
        scene.settled(&queue, settlement(&held[1], v1::SettleAction::Ack)).await;
    }
}

/// The client reads no more answers, so that one is due when it gives up.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_close_that_is_followed_by_a_cancel_while_an_answer_is_due_keeps_the_leases() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    let mut raw = Raw::consume(&scene, open(&queue, [1; 16], 2)).await;
    let held = raw.deliveries(2).await;
    // As large as what was received: nothing more fits.
    raw.http.send(&[stream_windows(0), ack(&held[0]), data(CALL, &[], true)]).await;
    eventually("the settlement", async || (scene.stats(&queue).await.in_flight == 1).then_some(())).await;
    raw.http.send(&[reset(CALL, CANCEL)]).await;
    raw.http.ping().await;
    while raw.http.next().await != http2::Frame::Pong {}
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 0)).await;
    assert_eq!(stream.opened.resumed_leases, 1);
    assert_eq!(stream.deliveries(1).await[0].token, held[1].token);
}

/// Deliveries that wait in the server for a client that does not read count no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_left_the_server_goes_back_at_once_and_uncounted() {
    const COUNT: usize = 40;
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for _ in 0..COUNT {
        let messages = vec![NewMessage { payload: vec![7; 300_000].into(), ..NewMessage::default() }];
        let request = PublishRequest { queue: queue.clone(), messages, ..PublishRequest::default() };
        scene.caller.publisher().publish(scene.caller.request(request)).await.unwrap();
    }
    for way in [Way::Reset(CANCEL), Way::Cut, Way::Fin] {
        // Its windows are the initial ones, and are never enlarged.
        let mut raw = Raw::consume(&scene, open(&queue, [9; 16], 100)).await;
        while !matches!(raw.http.next().await, http2::Frame::Data(..)) {}
        eventually("its leases", async || {
            (scene.stats(&queue).await.in_flight == COUNT as u64).then_some(())
        })
        .await;
        way.end(raw, &[]).await;
        // The first frame was sent in part: its first message, which the client may have received, counts as tried.
        let still_leased = 1;
        eventually("what goes back", async || {
            (scene.stats(&queue).await.in_flight == still_leased).then_some(())
        })
        .await;
        let mut stream = Stream::open(&scene.caller, open(&queue, [9; 16], 100)).await;
        assert_eq!(u64::from(stream.opened.resumed_leases), still_leased, "{way:?}");
        let all = stream.deliveries(COUNT).await;
        assert!(all.iter().all(|delivery| delivery.attempt == 1), "{way:?}");
        assert_eq!(all.iter().filter(|delivery| delivery.resumed).count() as u64, still_leased, "{way:?}");
        stream.half_close();
        stream.end().await.unwrap();
    }
}

/// The clean ends of the client crate's consumer, and the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_crate_ends_cleanly_when_it_is_closed_or_dropped_and_not_when_its_runtime_ends() {
    let scene = Scene::start().await;
    let (queue, _) = short_queue(&scene, "q").await;
    scene.publish(&queue, &["a"]).await;
    let written_by = |end: &'static str| {
        let (context, queue) = (scene.site.context(CIVIL), queue.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let attempt = runtime.block_on(async {
                let client = posthouse_client::Client::connect(context).await.unwrap();
                let consumer =
                    client.consumer(&queue).lease_duration(Duration::from_secs(1)).open().await.unwrap();
                let delivery =
                    tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().unwrap();
                let attempt = delivery.attempt();
                match end {
                    "close" => consumer.close().await.unwrap(),
                    "drop" => drop((delivery, consumer)),
                    _ => {
                        std::mem::forget((delivery, consumer));
                        return attempt;
                    }
                }
                // The runtime lives until the task has ended.
                eventually("the release", async || {
                    let stats = client.queues().get(&queue).await.unwrap().stats.unwrap();
                    (stats.in_flight == 0).then_some(())
                })
                .await;
                attempt
            });
            drop(runtime);
            attempt
        })
    };
    let mut attempts = Vec::new();
    for end in ["close", "drop", "shutdown", "close", "shutdown", "drop"] {
        let thread = written_by(end);
        attempts.push(tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap());
    }
    assert_eq!(attempts, [1, 1, 1, 2, 2, 3]);
}

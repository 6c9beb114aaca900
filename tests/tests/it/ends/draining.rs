//! Connections that are drained at their age or because the server stops: no accepted call is lost, however large, and
//! however slow the network.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use hyper_util::rt::TokioIo;
use posthouse::dev::SERVER_NAME;
use posthouse_proto::v1::{
    CreateQueueRequest, GetQueueRequest, NewMessage, PublishRequest, PublishResponse, PublishResult, Queue,
    QueueStats, ReceiveRequest, consumer_client::ConsumerClient, publish_result,
    publisher_client::PublisherClient,
};
use posthouse_tests::harness::{
    PATIENCE, eventually,
    http2::{Frame, Http2, data, message, stream_windows, window},
    proxy::Proxy,
    refusal::Refusal,
    scene::{LONG, Scene, queue_name, wire},
    server::Server,
    site::Site,
    tls,
    wire::Caller,
};
use rustls::version::TLS13;
use tokio::net::TcpSocket;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::{CALL, PREFIX_BYTES, Raw};

/// Nearly the largest request.
const LARGE: usize = 3_900_000;

fn aged(seconds: u64) -> Site {
    let site = Site::new();
    let age = format!("shards = 4\nmax_connection_age_seconds = {seconds}");
    site.configure(&[("shards = 4", &age)]);
    site
}

fn large(queue: &str, bytes: usize) -> PublishRequest {
    let messages = (0..4).map(|_| NewMessage { payload: vec![7; bytes / 4].into(), ..NewMessage::default() });
    PublishRequest { queue: queue.to_owned(), messages: messages.collect(), ..PublishRequest::default() }
}

/// Creates a queue on a connection that is young enough for it.
async fn queue(scene: &Scene, name: &str) -> String {
    eventually("the queue", async || {
        let caller = Caller::connect(&scene.site, &scene.credentials).await;
        let queue = Queue { name: queue_name(name), ..Queue::default() };
        let create = CreateQueueRequest { queue: Some(queue), ..CreateQueueRequest::default() };
        let created = caller.queues().create_queue(caller.request(create)).await;
        created.map_or_else(|status| status.code() == Code::AlreadyExists, |_| true).then_some(())
    })
    .await;
    queue_name(name)
}

/// The counts of a queue, on a connection that is young enough.
async fn stats(scene: &Scene, queue: &str) -> QueueStats {
    eventually("the counts", async || {
        let caller = Caller::connect(&scene.site, &scene.credentials).await;
        let request = caller.request(GetQueueRequest { name: queue.to_owned() });
        caller.queues().get_queue(request).await.ok()?.into_inner().stats
    })
    .await
}

/// The number of stored messages.
fn stored(answer: &PublishResponse) -> u64 {
    let stored = |result: &&PublishResult| matches!(result.result, Some(publish_result::Result::Stored(_)));
    answer.results.iter().filter(stored).count() as u64
}

/// A channel over the network, which reconnects as often as necessary.
fn channel(scene: &Scene, proxy: &Proxy) -> Channel {
    let config = Arc::new(tls::config(&scene.site, &[&TLS13], Some(&scene.credentials.certificate)));
    let address = proxy.address();
    let connector = tower::service_fn(move |_: Uri| {
        let config = Arc::clone(&config);
        async move {
            let tcp = tokio::net::TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = rustls_pki_types::ServerName::try_from(SERVER_NAME).unwrap();
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{SERVER_NAME}:{}", address.port())).unwrap();
    endpoint.connect_with_connector_lazy(connector)
}

async fn publish(scene: &Scene, channel: &Channel, request: PublishRequest) -> Result<u64, Status> {
    let mut publisher = PublisherClient::new(channel.clone());
    let answer = tokio::time::timeout(PATIENCE, publisher.publish(scene.caller.request(request))).await;
    answer.expect("an answer, or an end").map(|answer| stored(answer.get_ref()))
}

/// Calls that last for most of a connection's age or all of it, one after the other over several connections.
#[tokio::test(flavor = "multi_thread")]
async fn large_publishes_over_slow_connections_of_age_are_all_answered_and_none_is_stored_twice() {
    const CONNECTIONS: usize = 4;
    const CALLS: usize = 6;
    let scene = Scene::on(aged(2)).await;
    let scene = &scene;
    let queue = queue(scene, "q").await;
    let publishers = (0..CONNECTIONS).map(|number| {
        let queue = &queue;
        async move {
            let proxy = Proxy::slow(scene.site.listen(), 1_500_000 + 300_000 * number as u64).await;
            let channel = channel(scene, &proxy);
            let (mut answered, mut unsent) = (0, 0);
            for _ in 0..CALLS {
                match publish(scene, &channel, large(queue, LARGE)).await {
                    Ok(stored) => answered += stored,
                    // The client had not sent it when it was asked to leave: it knows that the server has not seen it.
                    Err(status) => {
                        assert!(status.details().is_empty(), "{status:?}");
                        unsent += 1;
                    }
                }
            }
            assert!(unsent <= CALLS / 2, "{unsent} calls were not sent");
            answered
        }
    });
    let answered: u64 = futures_util::future::join_all(publishers).await.into_iter().sum();
    assert!(answered > 0);
    let stats = stats(scene, &queue).await;
    // A call that was accepted and lost would be stored without an answer.
    assert_eq!((stats.ready, stats.last_sequence), (answered, answered));
}

/// A request and an answer that take far longer than the connection's age.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_forty_seconds_on_a_connection_of_one_is_answered() {
    const BYTES_PER_SECOND: u64 = 100_000;
    let scene = Scene::on(aged(1)).await;
    let scene = &scene;
    let (up, down) = (queue(scene, "up").await, queue(scene, "down").await);
    let fast = Caller::connect(&scene.site, &scene.credentials).await;
    fast.publisher().publish(fast.request(large(&down, LARGE))).await.unwrap();
    let publishing = async {
        let proxy = Proxy::slow(scene.site.listen(), BYTES_PER_SECOND).await;
        publish(scene, &channel(scene, &proxy), large(&up, LARGE)).await.unwrap()
    };
    let receiving = async {
        let proxy = Proxy::slow(scene.site.listen(), BYTES_PER_SECOND).await;
        let consumer = ConsumerClient::new(channel(scene, &proxy));
        let mut consumer = consumer.max_decoding_message_size(LARGE * 2);
        let request = ReceiveRequest {
            queue: down.clone(),
            max_messages: 100,
            lease_duration: wire(LONG),
            ..Default::default()
        };
        let answer = consumer.receive(scene.caller.request(request)).await.unwrap();
        answer.into_inner().deliveries.len()
    };
    assert_eq!(tokio::join!(publishing, receiving), (4, 4));
}

/// Calls that are under way when the server is stopped are stored or refused, and their callers know which.
#[tokio::test(flavor = "multi_thread")]
async fn large_publishes_that_are_under_way_when_the_server_stops_are_answered() {
    let mut scene = Scene::on(Site::with_drain_deadline(Duration::from_secs(60))).await;
    let queue = scene.plain_queue("q").await;
    let answered: u64 = {
        let scene = &scene;
        let publishers = (0..6_u64).map(|number| {
            let queue = &queue;
            async move {
                // The first are done before the server is stopped.
                let proxy = Proxy::slow(scene.site.listen(), 400_000 << number.min(3)).await;
                let mut answered = 0;
                let channel = channel(scene, &proxy);
                loop {
                    match publish(scene, &channel, large(queue, LARGE)).await {
                        Ok(stored) => answered += stored,
                        Err(status) if status.details().is_empty() => return answered,
                        Err(status) => {
                            let refusal = Refusal::from(&status);
                            assert_eq!(
                                (refusal.code, refusal.reason.as_str()),
                                (Code::Unavailable, "SERVER_DRAINING")
                            );
                            return answered;
                        }
                    }
                }
            }
        });
        let stopping = async {
            eventually("the first", async || (scene.stats(&queue).await.last_sequence > 0).then_some(()))
                .await;
            scene.server.terminate();
        };
        let (answered, ()) = tokio::join!(futures_util::future::join_all(publishers), stopping);
        answered.into_iter().sum()
    };
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
    scene.server = Server::start(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
    assert_eq!(scene.stats(&queue).await.last_sequence, answered);
}

/// The server has closed its side of the connection and its last answer is still on its way, while the client still
/// sends: closing the socket with unread bytes would reset the connection and lose the answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_reaches_a_client_that_goes_on_sending() {
    let scene = &Scene::on(aged(2)).await;
    let queue = queue(scene, "q").await;
    let socket = TcpSocket::new_v4().unwrap();
    // Most of the answer waits on the server's side of the network.
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let tcp = socket.connect(scene.site.listen()).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let http = Http2::over(tcp, &scene.site, &scene.credentials).await;
    let mut raw = Raw { http, answer: BytesMut::new() };
    raw.http.send(&[stream_windows(1 << 30), window(0, 1 << 30)]).await;
    let wait = wire(Duration::from_secs(20));
    let request = ReceiveRequest {
        queue: queue.clone(),
        max_messages: 100,
        wait,
        lease_duration: wire(LONG),
        ..Default::default()
    };
    let head = raw.http.head(CALL, "/posthouse.v1.Consumer/Receive", &[]);
    raw.http.send(&[head, data(CALL, &message(&request), true)]).await;
    // Both GOAWAY frames: no new calls, and the last call that was accepted.
    for _ in 0..2 {
        while !matches!(raw.http.next().await, Frame::GoAway(0)) {}
    }
    let other = Caller::connect(&scene.site, &scene.credentials).await;
    other.publisher().publish(other.request(large(&queue, 1_000_000))).await.unwrap();
    eventually("the lease", async || (stats(scene, &queue).await.in_flight == 4).then_some(())).await;
    // The answer is the last of the connection: the server closes its side once the kernel has accepted it. The test
    // cannot see that before it reads, so it goes on sending for a while.
    for _ in 0..200 {
        raw.http.ping().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut received = 0;
    let ended = loop {
        match raw.http.next().await {
            Frame::Data(CALL, bytes, _) => received += bytes.len(),
            Frame::Head(CALL, ended) if ended => break true,
            Frame::Closed => break false,
            _ => {}
        }
    };
    assert!(ended, "the connection was reset after {received} bytes");
    assert!(received > 1_000_000 + PREFIX_BYTES);
}

/// A call whose answer is not read is no reason to keep the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_makes_no_progress_keeps_no_connection_beyond_its_age() {
    let scene = &Scene::on(aged(1)).await;
    let queue = queue(scene, "q").await;
    let mut raw = Raw::connect(scene).await;
    let began = Instant::now();
    let head = raw.http.head(CALL, "/posthouse.v1.Publisher/Publish", &[]);
    let request = message(&large(&queue, 1_000));
    raw.http.send(&[stream_windows(0), head, data(CALL, &request, true)]).await;
    let mut goes_away = false;
    // Its pings are answered meanwhile.
    loop {
        match raw.http.next().await {
            Frame::GoAway(0) => goes_away = true,
            Frame::Closed => break,
            frame => assert!(!matches!(frame, Frame::Head(_, true)), "{frame:?}"),
        }
    }
    assert!(goes_away);
    assert!(began.elapsed() > Duration::from_secs(25), "after {:?}", began.elapsed());
    assert_eq!(stats(scene, &queue).await.last_sequence, 4);
}

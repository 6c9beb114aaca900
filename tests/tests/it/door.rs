//! Crowds at the door: silent ones, idle ones, and ones that are refused.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use posthouse::dev::SERVER_NAME;
use posthouse_proto::v1::PublishRequest;
use posthouse_proto::v1::consume_response::Frame;
use posthouse_tests::harness::eventually;
use posthouse_tests::harness::scene::Scene;
use posthouse_tests::harness::site::{Credentials, Site, TAXATION};
use posthouse_tests::harness::stream::{Stream, open};
use posthouse_tests::harness::tls;
use posthouse_tests::harness::wire::Caller;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A TCP connection from this address of the loopback.
async fn from(host: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    socket.connect(to).await
}

/// One connection with a call on it, and no more files than that.
async fn idle(site: &Site, credentials: &Credentials) -> Result<Channel, String> {
    let config = Arc::new(tls::config(site, &[&TLS13], Some(&credentials.certificate)));
    let listen = site.listen();
    let connector = tower::service_fn(move |_: Uri| {
        let config = Arc::clone(&config);
        async move {
            let tcp = TcpStream::connect(listen).await?;
            let name = rustls_pki_types::ServerName::try_from(SERVER_NAME).unwrap();
            Ok::<_, std::io::Error>(TokioIo::new(
                tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?,
            ))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{SERVER_NAME}:{}", listen.port())).unwrap();
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| format!("{error:?}"))?;
    ping(&channel).await?;
    Ok(channel)
}

async fn ping(channel: &Channel) -> Result<(), String> {
    let check = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    check.map(drop).map_err(|status| status.to_string())
}

/// Opens so many idle connections, some at a time; those that were refused are missing.
async fn crowd(site: &Site, credentials: &Credentials, count: usize) -> Vec<Channel> {
    let opening = futures_util::stream::iter((0..count).map(|_| idle(site, credentials)));
    opening.buffer_unordered(32).filter_map(async |channel| channel.ok()).collect().await
}

/// Publishes one message.
async fn publish(caller: &Caller, queue: &str) {
    let messages = vec![posthouse_tests::harness::scene::message("a")];
    let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
    caller.publisher().publish(caller.request(request)).await.unwrap();
}

/// Kilobytes of memory that a process has.
fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Limits the files of a process, or lets it have more.
fn limit_files(pid: u32, soft: usize) {
    let limited =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")]).status();
    assert!(limited.unwrap().success(), "this needs {soft} open files; raise the hard limit (ulimit -Hn)");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_half_open_handshakes_keep_nobody_out() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let listen = scene.site.listen();
    // From some hosts silence, from others the beginning of a handshake, again and again.
    let crowds: Vec<_> = (2..8_u8)
        .map(|host| {
            tokio::spawn(async move {
                let mut held = std::collections::VecDeque::new();
                let mut opened = 0_u32;
                loop {
                    if let Ok(mut stream) = from(host, listen).await {
                        if host < 4 {
                            let _ = stream.write_all(&[22, 3, 1, 2, 0, 1]).await;
                        }
                        opened += 1;
                        held.push_back(stream);
                    }
                    if held.len() > 600 {
                        held.pop_front();
                    }
                    if opened.is_multiple_of(100) {
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            })
        })
        .collect();
    eventually("the crowd", async || scene.server.log().contains("as many from this address").then_some(()))
        .await;
    for _ in 0..5 {
        publish(&Caller::connect(&scene.site, &scene.credentials).await, &queue).await;
    }
    crowds.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_served_and_leave_room_for_one_that_works() {
    limit_files(std::process::id(), 16_000);
    let scene = Scene::start().await;
    limit_files(scene.server.pid(), 16_000);
    let queue = scene.plain_queue("q").await;
    let site = &scene.site;
    let before = memory_kib(scene.server.pid());
    let channels = crowd(site, &scene.credentials, 10_000).await;
    let after = memory_kib(scene.server.pid());
    println!(
        "{} idle connections: {} KiB each, {} MiB in all",
        channels.len(),
        after.saturating_sub(before) / channels.len() as u64,
        after / 1024
    );
    assert_eq!(channels.len(), 10_000);
    publish(&Caller::connect(site, &scene.credentials).await, &queue).await;
    for channel in channels.iter().step_by(1000) {
        ping(channel).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_one_tenant_is_refused_and_another_tenant_gets_in() {
    let site = Site::new();
    site.configure(&[("shards = 4", "shards = 4\nmax_connections = 100")]);
    let scene = Scene::on(site).await;
    let log = || scene.server.log();
    let (site, other) = (&scene.site, scene.site.credentials(TAXATION));
    let queue = scene.plain_queue("q").await;
    let channels = crowd(site, &scene.credentials, 120).await;
    // Three quarters of all, the caller's own among them.
    assert_eq!(channels.len(), 74, "{}", log());
    assert!(log().contains("its tenant has as many open as may be"), "{}", log());
    idle(site, &other).await.unwrap();
    publish(&scene.caller, &queue).await;
    // With all of them in use, one more is closed at once.
    let _others = crowd(site, &other, 40).await;
    let mut refused = from(1, site.listen()).await.unwrap();
    assert!(matches!(refused.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    drop(channels);
    eventually("a place", async || idle(site, &scene.credentials).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_files_run_out_the_server_pauses_and_goes_on() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let pid = scene.server.pid();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit_files(pid, files + 8);
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(from(9, scene.site.listen()).await.unwrap());
    }
    eventually("a pause", async || {
        scene.server.log().contains("cannot accept connections; pausing").then_some(())
    })
    .await;
    assert_eq!(scene.publish(&queue, &["a"]).await, [1]);
    let pauses = scene.server.log().matches("cannot accept connections").count();
    assert!(pauses < 100, "it does not pause: {pauses}");
    drop(held);
    Caller::connect(&scene.site, &scene.credentials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_fails_to_authenticate_again_and_again_is_closed() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let stranger = Caller::connect(&scene.site, &scene.credentials).await.with_token(Some("no token"));
    eventually("another connection", async || {
        let request = stranger.request(posthouse_proto::v1::GetQueueRequest { name: queue.clone() });
        let status = stranger.queues().get_queue(request).await.unwrap_err();
        assert!(
            matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::Unavailable),
            "{status:?}"
        );
        (stranger.connections() > 1).then_some(())
    })
    .await;
    scene.server.told("its calls fail to authenticate").await;
    assert_eq!(scene.caller.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_age_moves_its_streams_to_a_fresh_one() {
    let site = Site::new();
    site.configure(&[("shards = 4", "shards = 4\nmax_connection_age_seconds = 2")]);
    let scene = Scene::on(site).await;
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a"]).await;
    let mut stream = Stream::open(&scene.caller, open(&queue, [4; 16], 10)).await;
    let held = stream.deliveries(1).await;
    let drained = stream.next().await.unwrap();
    assert!(matches!(drained, Some(Frame::Drain(_))), "{drained:?}");
    let mut moved = eventually("a fresh connection", async || {
        Stream::try_open(&scene.caller, open(&queue, [4; 16], 0)).await.ok()
    })
    .await;
    assert_eq!(moved.deliveries(1).await[0].token, held[0].token);
    assert!(scene.caller.connections() > 1);
    assert_eq!(scene.publish(&queue, &["b"]).await, [2]);
}

//! Many connections at once: silent ones, idle ones, and ones that are refused.

mod tenants;

use std::{net::SocketAddr, process::Command, sync::Arc};

use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use posthouse::dev::SERVER_NAME;
use posthouse_proto::v1::{
    GetQueueRequest, PublishRequest, consume_response::Frame, queues_client::QueuesClient,
};
use posthouse_tests::harness::{
    eventually,
    frames::{PREFACE, SETTINGS, frame},
    probe::{scrape, value},
    process::{limit_files, memory},
    scene::{Scene, queue_name},
    server::Server,
    site::{CIVIL, Credentials, Site},
    stream::{Stream, open},
    tls,
    wire::Caller,
};
use rustls::version::TLS13;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint, Uri},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// An address of the loopback interface.
struct Host([u8; 4]);

impl From<u8> for Host {
    fn from(host: u8) -> Self {
        Self([127, 0, 0, host])
    }
}

impl From<[u8; 4]> for Host {
    fn from(host: [u8; 4]) -> Self {
        Self(host)
    }
}

/// A TCP connection from this address of the loopback interface.
async fn from(host: impl Into<Host>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((host.into().0, 0)))?;
    socket.connect(to).await
}

/// One connection with one call, and not more open files than that.
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
    ask(&channel, &credentials.token).await?;
    Ok(channel)
}

/// Makes a call with a token about a queue that does not exist: the connection is no longer a stranger's.
async fn ask(channel: &Channel, token: &str) -> Result<(), String> {
    let mut request = tonic::Request::new(GetQueueRequest { name: queue_name("nothing") });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    match QueuesClient::new(channel.clone()).get_queue(request).await.unwrap_err() {
        status if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(()),
        status => Err(status.to_string()),
    }
}

async fn ping(channel: &Channel) -> Result<(), String> {
    let check = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
    check.map(drop).map_err(|status| status.to_string())
}

/// Opens this many idle connections, some at a time; refused ones are missing in the result.
async fn crowd(site: &Site, credentials: &Credentials, count: usize) -> Vec<Channel> {
    let opening = futures_util::stream::iter((0..count).map(|_| idle(site, credentials)));
    opening.buffer_unordered(8).filter_map(async |channel| channel.ok()).collect().await
}

/// Publishes one message.
async fn publish(caller: &Caller, queue: &str) {
    let messages = vec![posthouse_tests::harness::scene::message("a")];
    let request = PublishRequest { queue: queue.to_owned(), messages, ..PublishRequest::default() };
    caller.publisher().publish(caller.request(request)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_half_open_handshakes_keep_nobody_out() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let listen = scene.site.listen();
    // Silent connections from some hosts, and beginnings of handshakes from others, again and again.
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

/// Keeps `each` connections from each of the hosts open, silent or with the beginning of a handshake, and replaces
/// those that the server closes.
fn strangers(hosts: Vec<[u8; 4]>, each: usize, to: SocketAddr) -> Vec<tokio::task::JoinHandle<()>> {
    let keep = move |(number, host): (usize, [u8; 4])| async move {
        let mut held = std::collections::VecDeque::new();
        loop {
            if let Ok(mut stream) = from(host, to).await {
                if number % 2 == 1 {
                    let _ = stream.write_all(&[22, 3, 1, 2, 0, 1]).await;
                }
                held.push_back(stream);
            }
            if held.len() > each {
                held.pop_front();
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    hosts.into_iter().enumerate().map(|host| tokio::spawn(keep(host))).collect()
}

/// Opens twenty connections, one after the other, each of which must be served.
async fn twenty_are_served(site: &Site, credentials: &Credentials) {
    for number in 0..20 {
        let served = tokio::time::timeout(std::time::Duration::from_secs(10), idle(site, credentials)).await;
        assert!(matches!(served, Ok(Ok(_))), "connection {number}: {served:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silent_host_keeps_nobody_out_of_a_server_that_may_have_few_files() {
    let site = Site::new();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=1024:1024").arg(posthouse_tests::harness::binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config());
    let mut server = Server::run(&site, command);
    server.ready(&site).await;
    assert!(server.log().contains("too few files"), "{}", server.log());
    let credentials = site.credentials(CIVIL);
    // From another host, and from the callers' own.
    for host in [[127, 0, 0, 2], [127, 0, 0, 1]] {
        let gave_way = async || {
            let metrics = scrape(site.management()).await;
            value(&metrics, "posthouse_connections_refused_total{reason=\"gave_way\"}")
        };
        let before = gave_way().await;
        let crowd = strangers(vec![host], 500, site.listen());
        // All connections are open; from now on it only replaces closed ones.
        eventually("the crowd", async || (gave_way().await > before + 500.0).then_some(())).await;
        twenty_are_served(&site, &credentials).await;
        crowd.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_hosts_that_hold_all_they_can_keep_nobody_out() {
    limit_files(std::process::id(), "16000:");
    let scene = Scene::start().await;
    let hosts = (0..40).map(|host| [127, 1 + host / 4, host, 1]).collect();
    let crowd = strangers(hosts, 150, scene.site.listen());
    eventually("the crowd", async || {
        let metrics = scrape(scene.site.management()).await;
        (value(&metrics, "posthouse_connections_strangers") > 4_000.0).then_some(())
    })
    .await;
    twenty_are_served(&scene.site, &scene.credentials).await;
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_its_host_who_show_only_a_certificate_keep_no_caller_out() {
    let site = Site::new();
    // A quarter of the slots are for strangers, and half of these for one host.
    site.configure(&[("shards = 4", "shards = 4\nmax_connections = 400")]);
    let _server = Server::start(&site).await;
    let credentials = site.credentials(CIVIL);
    let mut crowd = Vec::new();
    let accepted = async || value(&scrape(site.management()).await, "posthouse_connections_strangers");
    while crowd.len() < 50 {
        let caller = Caller::connect(&site, &credentials).await;
        ping(&caller.channel()).await.unwrap();
        crowd.push(caller);
    }
    assert_eq!(accepted().await, 50.0, "all that the host may have");
    let let_in = async || idle(&site, &credentials).await.ok();
    let first = eventually("a caller is let in", let_in).await;
    eventually("one gives way", async || (accepted().await < 50.0).then_some(())).await;
    // It was closed for the caller, whose connection stays.
    ask(&first, &credentials.token).await.unwrap();
    twenty_are_served(&site, &credentials).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_health_do_not_make_a_caller() {
    let scene = Scene::start().await;
    ask(&scene.caller.channel(), &scene.credentials.token).await.unwrap();
    let prober = Caller::connect(&scene.site, &scene.credentials).await;
    let (mut asked, mut failed) = (0, 0);
    let until = std::time::Instant::now() + posthouse_tests::harness::PATIENCE;
    while prober.connections() == 1 {
        assert!(std::time::Instant::now() < until, "it stays");
        asked += 1;
        failed += usize::from(ping(&prober.channel()).await.is_err());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // It is asked to move, and is not closed in the middle of a call.
    assert!(asked > 20 && failed <= 1, "{failed} of {asked}");
    // A caller's connection stays.
    ask(&scene.caller.channel(), &scene.credentials.token).await.unwrap();
    assert_eq!(scene.caller.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_files_is_raised_at_start() {
    let site = Site::new();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=900:4000").arg(posthouse_tests::harness::binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config());
    let mut server = Server::run(&site, command);
    server.ready(&site).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("4000"), "{line}");
    let log = server.log();
    assert!(log.contains("raised") && log.contains("900") && log.contains("4000"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_served_and_leave_room_for_one_that_works() {
    limit_files(std::process::id(), "16000:");
    let scene = Scene::start().await;
    limit_files(scene.server.pid(), "16000:");
    let queue = scene.plain_queue("q").await;
    let site = &scene.site;
    let before = memory(scene.server.pid()).unwrap() >> 10;
    let channels = crowd(site, &scene.credentials, 10_000).await;
    let after = memory(scene.server.pid()).unwrap() >> 10;
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
async fn those_who_say_nothing_shrink_no_windows() {
    let scene = Scene::start().await;
    let mut silent = Vec::new();
    for number in 0..600_u16 {
        silent.push(from([127, 0, 2 + u8::from(number % 2 == 0), 1], scene.site.listen()).await.unwrap());
    }
    eventually("the silent", async || {
        let metrics = scrape(scene.site.management()).await;
        (value(&metrics, "posthouse_connections_strangers") >= 600.0).then_some(())
    })
    .await;
    let config = tls::config(&scene.site, &[&TLS13], Some(&scene.credentials.certificate));
    let mut stream = tls::connect(&scene.site, config).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], SETTINGS, "{head:?}");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE
    let window = settings.chunks(6).find(|setting| setting[..2] == [0, 4]).unwrap();
    assert_eq!(window[2..], (2_u32 << 20).to_be_bytes());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_files_run_out_the_server_pauses_and_goes_on() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let pid = scene.server.pid();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit_files(pid, &format!("{}:", files + 8));
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

//! `/livez`, `/readyz` and `/startupz` from the start to the end, and `grpc.health.v1` beside them.

use std::{fs, net::SocketAddr, process::Command};

use posthouse_tests::harness::{
    binaries, eventually,
    probe::{get, value},
    scene::Scene,
    server::Server,
    site::Site,
    stream::{Stream, open},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_while_the_server_starts() {
    let site = Site::new();
    // A start that is blocked: the data folder's lock is a pipe that nobody reads.
    fs::create_dir(site.data()).unwrap();
    let lock = site.data().join("LOCK");
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let mut server = Server::launch(&site, &binaries::posthouse(), None);
    let address = site.management();
    let alive = eventually("an answer", || get(address, "/livez")).await;
    assert_eq!(alive.status, 200);
    for path in ["/startupz", "/readyz"] {
        assert_eq!(get(address, path).await.unwrap().status, 503, "{path}");
    }
    assert_eq!(get(address, "/metrics").await.unwrap().status, 200);
    // Now the start continues.
    let reader = tokio::task::spawn_blocking(move || fs::File::open(lock).unwrap()).await.unwrap();
    server.ready(&site).await;
    for path in ["/startupz", "/readyz", "/livez"] {
        assert_eq!(get(address, path).await.unwrap().status, 200, "{path}");
    }
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_lives_and_is_not_ready() {
    let mut scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let mut health = HealthClient::new(scene.caller.channel());
    for service in ["", "Publisher", "Consumer", "Queues", "Messages"] {
        let service = if service.is_empty() { String::new() } else { format!("posthouse.v1.{service}") };
        let answer = health.check(HealthCheckRequest { service: service.clone() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest { service: "posthouse.v1.Consumer".to_owned() };
    let mut watched = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    // An open stream keeps the drain from ending.
    let mut stream = Stream::open(&scene.caller, open(&queue, [1; 16], 1)).await;
    scene.server.terminate();
    let address = scene.site.management();
    eventually("the end of readiness", || async move {
        get(address, "/readyz").await.filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(get(address, "/livez").await.unwrap().status, 200);
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let _ = stream.end().await;
    drop((stream, watched, health));
    assert_eq!(scene.server.ended().await.code(), Some(0), "{}", scene.server.log());
    assert!(get(address, "/livez").await.is_none());
}

/// Asks for the metrics again and again from another host, and never reads the answer.
async fn scrape_and_scrape(to: SocketAddr) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        if let Ok(mut stream) = socket.connect(to).await {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: posthouse\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_scrapes_without_end_keeps_no_probe_out() {
    let scene = Scene::start().await;
    let address = scene.site.management();
    let crowd: Vec<_> = (0..100).map(|_| tokio::spawn(scrape_and_scrape(address))).collect();
    eventually("a full port", async || {
        let answer = get(address, "/metrics").await?;
        let closed = "posthouse_management_connections_closed_total{reason=\"full\"}";
        (value(&answer.body, closed) > 100.0).then_some(())
    })
    .await;
    for number in 0..200 {
        let answer = get(address, "/livez").await;
        assert_eq!(answer.map(|answer| answer.status), Some(200), "probe {number}");
    }
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_management_port_that_is_taken_is_told() {
    let site = Site::new();
    let other_listener = std::net::TcpListener::bind(site.management()).unwrap();
    let mut server = Server::launch(&site, &binaries::posthouse(), None);
    assert_eq!(server.ended().await.code(), Some(69));
    assert!(server.log().contains("[management]"), "{}", server.log());
    drop(other_listener);
}

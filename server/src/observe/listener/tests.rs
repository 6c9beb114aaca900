use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn open() -> (Management, Arc<Observer>) {
    let observer = Observer::for_tests();
    let listener = Management::open("127.0.0.1:0".parse().unwrap(), Arc::clone(&observer)).await.unwrap();
    (listener, observer)
}

/// The answer to these bytes, until the connection is closed.
async fn say(listener: &Management, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(listener.address()).await.unwrap();
    // The server may have had enough before all of it is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn get(listener: &Management, path: &str) -> String {
    say(listener, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn probes_follow_the_server() {
    let (listener, observer) = open().await;
    for (path, code) in [("/livez", 200), ("/readyz", 503), ("/startupz", 503), ("/metrics", 200)] {
        assert!(get(&listener, path).await.starts_with(&format!("HTTP/1.1 {code} ")), "{path}");
    }
    observer.enter(Phase::Serving);
    assert!(get(&listener, "/readyz").await.ends_with("ready\nstate: serving\n"));
    assert!(get(&listener, "/startupz").await.starts_with("HTTP/1.1 200 "));
    observer.enter(Phase::Draining);
    assert!(get(&listener, "/readyz").await.starts_with("HTTP/1.1 503 "));
    assert!(get(&listener, "/startupz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn nothing_else_is_answered() {
    let (listener, _) = open().await;
    for (request, code) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("GET /metrics/ HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("GET /debug/pprof HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", 405),
        ("DELETE /livez HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
    ] {
        let answer = say(&listener, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request:?}: {answer}");
    }
    let head = say(&listener, b"HEAD /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let (listener, _) = open().await;
    let long = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_MANAGEMENT_HEADER_BYTES));
    let answer = say(&listener, long.as_bytes()).await;
    assert!(!answer.contains("alive"), "{answer}");
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_MANAGEMENT_HEADERS + 1));
    let answer = say(&listener, many.as_bytes()).await;
    assert!(!answer.contains("alive"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_say_nothing_keep_no_probe_waiting() {
    let (listener, observer) = open().await;
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    for _ in 0..20 {
        assert!(get(&listener, "/livez").await.contains("alive"));
    }
    assert!(get(&listener, "/metrics").await.starts_with("HTTP/1.1 200 "));
    let closed = |why| observer.metrics.own.closed.with_label_values(&[why]).get();
    let gave_way = closed("gave_way");
    assert!(gave_way >= 1_000 - MAX_LOCAL_MANAGEMENT_CONNECTIONS as u64, "{gave_way}");
    // The others end by themselves.
    for mut one in silent {
        let read = tokio::time::timeout(MANAGEMENT_DEADLINE / 2, one.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    }
    assert!(closed("late") > 0);
}

#[tokio::test]
async fn probes_are_answered_while_metrics_wait() {
    let (listener, _) = open().await;
    // Many more scrapes than are made at once.
    let scrapes: Vec<_> =
        (0..MAX_LOCAL_MANAGEMENT_CONNECTIONS / 2).map(|_| get(&listener, "/metrics")).collect();
    let scrapes = futures_util::future::join_all(scrapes);
    let (scrapes, probe) = tokio::join!(scrapes, get(&listener, "/livez"));
    assert!(probe.contains("alive"));
    assert!(scrapes.iter().all(|scrape| scrape.starts_with("HTTP/1.1 200 ")));
}

/// Sends a request from this address of the loopback, and does not read the answer.
async fn ask_from(host: [u8; 4], listener: &Management, path: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((host, 0))).unwrap();
    let mut stream = socket.connect(listener.address()).await.unwrap();
    // A connection without a slot is closed before.
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
    stream
}

#[test]
fn scrapes_that_wait_keep_no_probe_of_another_host_out() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().max_blocking_threads(1).build().unwrap();
    // No scrape ends before the probes are answered: something else has the one thread that they are made on.
    let (done, until) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || until.recv());
    runtime.block_on(async {
        let (listener, observer) = open().await;
        let closed = |why| observer.metrics.own.closed.with_label_values(&[why]).get();
        let mut scrapes = Vec::new();
        // A host's own silent connections are evicted first: when one more finds no slot, all have sent their request.
        while closed("full") == 0 {
            scrapes.push(ask_from([127, 0, 0, 2], &listener, "/metrics").await);
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            assert!(get(&listener, "/livez").await.contains("alive"));
        }
    });
    drop(done);
}

#[test]
fn no_host_has_all_places_of_its_site() {
    let (get, slots) = (|path| Request::get(path).body(()).unwrap(), ListenerSlots::new());
    let acquired = |host, path| {
        let (slot, evicted) = slots.acquire([10, 1, 2, host].into())?;
        slot.reached(stage(&get(path)));
        Some((slot, evicted))
    };
    let source_slots = |host, path| (0..100).filter_map(|_| acquired(host, path)).collect::<Vec<_>>();
    // One pod, whatever it asks for, and many that ask for slow answers.
    let pod = source_slots(1, "/livez");
    assert!(pod.len() < MAX_MANAGEMENT_CONNECTIONS / 4, "{}", pod.len());
    let probe = acquired(9, "/livez").unwrap();
    drop((pod, probe));
    for path in ["/metrics", "/", "/livez/"] {
        let pods: Vec<_> = (1..9).flat_map(|host| source_slots(host, path)).collect();
        let probe = acquired(9, "/readyz").unwrap();
        let other = acquired(10, "/livez").unwrap();
        assert!(!probe.1.is_cancelled() && !other.1.is_cancelled(), "{path}");
        drop((pods, probe, other));
    }
    assert_eq!(stage(&Request::post("/livez").body(()).unwrap()), Stage::Named);
}

#[test]
fn places_are_kept_for_the_host_itself() {
    let slots = ListenerSlots::new();
    let others: Vec<_> = (0..4_000_u32)
        .filter_map(|host| slots.acquire(IpAddr::from((0x0a00_0000 + host * 7).to_be_bytes())))
        .inspect(|(slot, _)| slot.reached(Stage::Answered))
        .collect();
    assert_eq!(others.len(), MAX_MANAGEMENT_CONNECTIONS);
    assert!(slots.acquire([127, 0, 0, 1].into()).is_some());
}

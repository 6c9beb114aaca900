use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn open() -> (Management, Arc<Observer>) {
    let observer = Observer::for_tests();
    let listener = Management::open("127.0.0.1:0".parse().unwrap(), Arc::clone(&observer)).await.unwrap();
    (listener, observer)
}

/// What comes back for these bytes, until the connection is closed.
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

#[tokio::test]
async fn callers_that_say_nothing_are_bounded_and_make_room() {
    let (listener, _) = open().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_MANAGEMENT_CONNECTIONS {
        silent.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    // It waits in the kernel until there is room again.
    let mut behind = std::pin::pin!(get(&listener, "/livez"));
    let early = tokio::time::timeout(Duration::from_millis(100), behind.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    drop(silent);
    assert!(behind.await.contains("alive"));
}

//! Requests that are no gRPC calls, or cannot be decoded.

use bytes::Bytes;
use posthouse_proto::v1;
use posthouse_tests::harness::{
    PATIENCE,
    http2::{Frame, Http2},
    raw,
    refusal::assert_refused,
    scene::Scene,
    tls,
};
use prost::Message;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{
    Code,
    codegen::http::{HeaderValue, Method},
};

use super::assert_serves;

const GET_QUEUE: &str = "/posthouse.v1.Queues/GetQueue";
const PUBLISH_STREAM: &str = "/posthouse.v1.Publisher/PublishStream";

fn request(queue: &str) -> Bytes {
    v1::GetQueueRequest { name: queue.to_owned() }.encode_to_vec().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused() {
    let scene = Scene::start().await;
    let invalid_text = Bytes::from_static(b"\x0a\x02\xff\xfe");
    let group = Bytes::from_static(b"\x0b\x0b\x0b\x0b");
    let endless = Bytes::from_static(b"\x0a\xff\xff\xff\xff\x0f");
    for garbage in [invalid_text, group, endless, Bytes::from(vec![0xff; 100])] {
        let answer = raw::unary(&scene.caller, GET_QUEUE, garbage).await;
        assert_refused(answer, Code::InvalidArgument, "FRAME_INVALID");
    }
    // A message without fields is valid; here it lacks the name.
    assert_refused(
        raw::unary(&scene.caller, GET_QUEUE, Bytes::new()).await,
        Code::InvalidArgument,
        "NAME_INVALID",
    );
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_is_told_so() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for content_type in ["application/json", "text/html", "application/grpc-web", "application/grpc+json", ""]
    {
        let answer = raw::edited(&scene.caller, GET_QUEUE, request(&queue), move |http| {
            http.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        });
        assert_refused(answer.await, Code::InvalidArgument, "REQUEST_INVALID");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = raw::edited(&scene.caller, GET_QUEUE, request(&queue), move |http| {
            *http.method_mut() = method.clone();
        });
        assert_refused(answer.await, Code::InvalidArgument, "REQUEST_INVALID");
    }
    raw::edited(&scene.caller, GET_QUEUE, request(&queue), |http| {
        http.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc+proto"));
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_does_not_exist_is_not_allowed() {
    let scene = Scene::start().await;
    for path in [
        "/posthouse.v1.Queues/DropEverything",
        "/posthouse.v1.Queues/getqueue",
        "/posthouse.v1.Queues/GetQueue/",
        "/posthouse.v2.Queues/GetQueue",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/",
        "/%50osthouse.v1.Queues/GetQueue",
    ] {
        let answer = raw::unary(&scene.caller, path, request("q")).await;
        assert_refused(answer, Code::PermissionDenied, "METHOD_NOT_ALLOWED");
    }
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_message_is_refused_with_what_is_taken() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let answer = raw::edited(&scene.caller, GET_QUEUE, request(&queue), move |http| {
            http.headers_mut().insert("grpc-encoding", HeaderValue::from_static(encoding));
        });
        let status = answer.await.unwrap_err();
        assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "identity");
        assert_refused(Err::<(), _>(status), Code::Unimplemented, "FRAME_INVALID");
    }
    raw::edited(&scene.caller, GET_QUEUE, request(&queue), |http| {
        http.headers_mut().insert("grpc-encoding", HeaderValue::from_static("identity"));
    })
    .await
    .unwrap();
}

/// HTTP/2 itself refuses these: no handler sees them, so there is an HTTP status and no reason.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_headers_are_refused_and_the_connection_goes_on() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("q").await;
    let status = raw::edited(&scene.caller, GET_QUEUE, request(&queue), |http| {
        http.headers_mut().insert("x-large", HeaderValue::from_str(&"x".repeat(20_000)).unwrap());
    })
    .await
    .unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert!(status.message().contains("431"), "{status:?}");
    assert_eq!(scene.publish(&queue, &["a"]).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_place_of_http_ends_its_connection_only() {
    let scene = Scene::start().await;
    for garbage in [
        b"GET / HTTP/1.1\r\nhost: posthouse\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 64 << 10],
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 100]].concat(),
    ] {
        let config = tls::config(&scene.site, &[&TLS13], Some(&scene.credentials.certificate));
        let mut stream = tls::connect(&scene.site, config).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(&garbage).await;
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        drop(end.expect("the connection ends"));
    }
    assert_serves(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_a_connections_limit_are_refused() {
    const LIMIT: u32 = 200;
    const REFUSED_STREAM: u32 = 7;
    let scene = Scene::start().await;
    let mut connection = Http2::connect(&scene.site, &scene.credentials).await;
    for number in 0..LIMIT + 300 {
        connection.begin(number * 2 + 1, PUBLISH_STREAM).await;
    }
    connection.ping().await;
    let mut refused = 0;
    loop {
        match connection.next().await {
            Frame::Reset(stream, code) => {
                assert_eq!(code, REFUSED_STREAM);
                assert!(stream > LIMIT * 2, "stream {stream}");
                refused += 1;
            }
            Frame::Pong => break,
            Frame::Head(..) | Frame::Data(..) | Frame::Other => {}
            end => panic!("{end:?} after {refused} refusals"),
        }
    }
    assert_eq!(refused, 300);
    // A client that goes on is disconnected.
    for number in LIMIT + 300..LIMIT + 5_000 {
        connection.begin(number * 2 + 1, PUBLISH_STREAM).await;
    }
    connection.ping().await;
    let ended = loop {
        match connection.next().await {
            Frame::Pong => break false,
            Frame::GoAway(_) | Frame::Closed => break true,
            Frame::Head(..) | Frame::Data(..) | Frame::Reset(..) | Frame::Other => {}
        }
    };
    assert!(ended, "5,000 streams were begun");
    assert_serves(&scene).await;
}

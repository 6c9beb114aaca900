//! The memory that a caller can make the server use: bodies without an end, requests of many elements, answers that are
//! not read.

mod bodies;
mod pieces;
mod unread;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use posthouse_tests::harness::{
    probe::{scrape, value},
    scene::Scene,
    site::Credentials,
    wire::Caller,
};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};

const PUBLISH: &str = "/posthouse.v1.Publisher/Publish";
const MIB: usize = 1 << 20;

async fn figure(scene: &Scene, series: &str) -> f64 {
    value(&scrape(scene.site.management()).await, series)
}

/// Begins a call that declares a body of this size and sends all of it but the last bytes, which follow one a second.
async fn unfinished(
    caller: Caller,
    credentials: Credentials,
    path: &str,
    length: usize,
) -> Result<Response<Body>, Status> {
    let prefix = [&[0][..], &u32::try_from(length).unwrap().to_be_bytes()].concat();
    let (pieces, sent) = (length / 8_192 - 1, Bytes::from(vec![0; 8_192]));
    let first = std::iter::once(Bytes::from(prefix)).chain(std::iter::repeat_n(sent, pieces));
    let dribble = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Bytes::from_static(&[0]), ()))
    });
    let data = futures_util::StreamExt::chain(futures_util::stream::iter(first), dribble);
    let frames = futures_util::StreamExt::map(data, |data| Ok::<_, Infallible>(Frame::data(data)));
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {}", credentials.token))
        .body(Body::new(StreamBody::new(Box::pin(frames))))
        .unwrap();
    let mut channel = caller.channel();
    let answer = channel.ready().await.map_err(|error| Status::from_error(error.into()))?.call(request).await;
    let answer = answer.map_err(|error| Status::from_error(error.into()))?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(answer)
}

/// The status in the headers of a refusal.
fn refusal(answer: &Response<Body>) -> Status {
    Status::from_header_map(answer.headers()).expect("a refusal has its status in its head")
}

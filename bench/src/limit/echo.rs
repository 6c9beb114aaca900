//! The service of `echo`: reads every frame and writes it back. A schema of its own is not worth it: its one method is
//! described by hand.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use posthouse_proto::{SizedCodec, SplitBody, split_body, v1::PublishStreamRequest};
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request, Response};
use tonic::server::{Grpc, StreamingService};
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tower::{Service, ServiceExt as _};

use super::door::MAX_FRAME_BYTES;
use super::load::Frames;

/// As Posthouse's client and server have it.
type Codec = SizedCodec<PublishStreamRequest, PublishStreamRequest>;

/// The service. Whatever is called is answered so.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

impl Service<Request<SplitBody<Incoming>>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<SplitBody<Incoming>>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(Codec::default()).max_decoding_message_size(MAX_FRAME_BYTES);
            Ok(grpc.streaming(Back, request).await)
        })
    }
}

/// The frames that come are the frames that go.
struct Back;

impl StreamingService<PublishStreamRequest> for Back {
    type Response = PublishStreamRequest;
    type ResponseStream = Streaming<PublishStreamRequest>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<PublishStreamRequest>>) -> Self::Future {
        ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

/// Opens a stream.
pub async fn open(channel: Channel, frames: Frames) -> anyhow::Result<Streaming<PublishStreamRequest>> {
    let mut grpc =
        tonic::client::Grpc::new(channel.map_response(split_body)).max_decoding_message_size(MAX_FRAME_BYTES);
    grpc.ready().await?;
    let path = PathAndQuery::from_static("/posthouse.bench.Echo/Echo");
    let opened = grpc.streaming(tonic::Request::new(frames), path, Codec::default()).await?;
    Ok(opened.into_inner())
}

//! The service of `echo`: returns every frame. Its one method is described by hand instead of by a schema.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use posthouse_proto::{
    SizedCodec, SplitBody, split_body,
    v1::{PublishStreamRequest, publish_stream_request::Frame},
};
use tonic::{
    Status, Streaming,
    body::Body,
    codegen::http::{Request, Response, uri::PathAndQuery},
    server::{Grpc, StreamingService},
    transport::Channel,
};
use tower::{Service, ServiceExt as _};

use super::{
    door::MAX_FRAME_BYTES,
    load::{Answer, Frames},
};

/// The codec of Posthouse's client and server.
type Codec = SizedCodec<PublishStreamRequest, PublishStreamRequest>;

/// The service. It answers every method as `Echo`.
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

/// Returns the frames of the request.
struct Back;

impl StreamingService<PublishStreamRequest> for Back {
    type Response = PublishStreamRequest;
    type ResponseStream = Streaming<PublishStreamRequest>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<PublishStreamRequest>>) -> Self::Future {
        ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

impl Answer for PublishStreamRequest {
    async fn open(channel: Channel, frames: Frames) -> anyhow::Result<Streaming<Self>> {
        let mut grpc = tonic::client::Grpc::new(channel.map_response(split_body))
            .max_decoding_message_size(MAX_FRAME_BYTES);
        grpc.ready().await?;
        let path = PathAndQuery::from_static("/posthouse.bench.Echo/Echo");
        let opened = grpc.streaming(tonic::Request::new(frames), path, Codec::default()).await?;
        Ok(opened.into_inner())
    }

    fn answered(&self) -> Option<(u64, usize)> {
        match &self.frame {
            Some(Frame::Batch(batch)) => Some((batch.batch_id, batch.messages.len())),
            _ => None,
        }
    }
}

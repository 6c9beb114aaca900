//! gRPC calls with any bytes and any headers.

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status, Streaming,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{
        http::{Request as HttpRequest, uri::PathAndQuery},
        tokio_stream::Stream,
    },
};
use tower::ServiceExt;

use super::wire::Caller;

/// A codec that passes bytes through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Calls a method with these bytes as its request.
pub async fn unary(caller: &Caller, path: &str, request: Bytes) -> Result<Bytes, Status> {
    edited(caller, path, request, |_| {}).await
}

/// Calls a method after `edit` has changed the HTTP request.
pub async fn edited(
    caller: &Caller,
    path: &str,
    request: Bytes,
    edit: impl Fn(&mut HttpRequest<Body>) + Clone + Send,
) -> Result<Bytes, Status> {
    let service = caller.channel().map_request(move |mut request: HttpRequest<Body>| {
        edit(&mut request);
        request
    });
    let mut grpc = Grpc::new(service);
    grpc.ready().await.unwrap();
    let path: PathAndQuery = path.parse().unwrap();
    grpc.unary(caller.request(request), path, Raw).await.map(tonic::Response::into_inner)
}

/// Opens a stream whose frames are these bytes.
pub async fn streaming(
    caller: &Caller,
    path: &str,
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = Grpc::new(caller.channel());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = path.parse().unwrap();
    grpc.streaming(caller.request(frames), path, Raw).await.map(tonic::Response::into_inner)
}

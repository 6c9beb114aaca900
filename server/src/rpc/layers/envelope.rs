//! The HTTP around a gRPC message: one layer refuses requests that are no gRPC calls, another adds reasons to the
//! refusals of the gRPC library, which have none.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use tonic::{Status, body::Body};
use tower::{Service, util::MapResponse};

use crate::rpc::wire::{deadline::Deadline, status::ApiError};

/// The encodings that the server accepts; in the library's refusal of another encoding.
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

type Answer = Result<Response<Body>, Infallible>;

/// In front of `intake`: refuses requests that are no gRPC calls, and reads the deadline of the others.
#[derive(Clone, Debug)]
pub(crate) struct Envelope<S> {
    inner: S,
}

/// In front of the services: adds reasons to the library's refusals.
pub(crate) type Explain<S> = MapResponse<S, fn(Response<Body>) -> Response<Body>>;

/// Adds reasons to the refusals of these services.
pub(crate) fn explain<S>(services: S) -> Explain<S> {
    MapResponse::new(services, explained)
}

impl<S> Envelope<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<B>> for Envelope<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Answer>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(refusal) = no_grpc(&request) {
            return Either::Right(ready(Ok(refusal)));
        }
        match Deadline::read(request.headers()) {
            Ok(deadline) => {
                deadline.map(|deadline| request.extensions_mut().insert(deadline));
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(ready(Ok(Status::from(error).into_http()))),
        }
    }
}

/// The answer to a request that is no gRPC call; its HTTP status is for clients of other protocols.
fn no_grpc<B>(request: &Request<B>) -> Option<Response<Body>> {
    if request.method() != Method::POST {
        let mut refusal = refused("the HTTP method is not POST", StatusCode::METHOD_NOT_ALLOWED);
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(refusal);
    }
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let format = content_type.strip_prefix(b"application/grpc");
    if matches!(format, Some(b"" | b"+proto")) || format.is_some_and(|rest| rest.starts_with(b";")) {
        return None;
    }
    let text = "the content-type is not application/grpc or application/grpc+proto";
    Some(refused(text, StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

fn refused(text: &'static str, status: StatusCode) -> Response<Body> {
    let mut response = Status::from(ApiError::no_grpc(text)).into_http();
    *response.status_mut() = status;
    response
}

/// Replaces a refusal by the library by one with a reason and a text of ours.
fn explained(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return response;
    }
    let status = Status::from_header_map(headers);
    let Some(error) = status.and_then(|status| ApiError::unexplained(&status)) else { return response };
    let encodings = headers.get(ACCEPT_ENCODING).cloned();
    let mut response = Status::from(error).into_http();
    if let Some(encodings) = encodings {
        response.headers_mut().insert(ACCEPT_ENCODING, encodings);
    }
    response
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    fn request(method: Method, content_type: &str) -> Request<()> {
        Request::builder().method(method).header(CONTENT_TYPE, content_type).body(()).unwrap()
    }

    #[test]
    fn only_grpc_is_let_in() {
        for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=x"] {
            assert!(no_grpc(&request(Method::POST, content_type)).is_none(), "{content_type}");
        }
        for content_type in ["", "application/json", "application/grpc-web", "application/grpc+json"] {
            let refusal = no_grpc(&request(Method::POST, content_type)).unwrap();
            assert_eq!(refusal.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        }
        let refusal = no_grpc(&request(Method::GET, "application/grpc")).unwrap();
        assert_eq!(
            (refusal.status(), &refusal.headers()[ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("POST"))
        );
    }

    #[test]
    fn what_the_library_refuses_gets_a_reason_and_our_own_refusals_stay() {
        let reason = |status: Status| {
            let response = explained(status.into_http());
            let status = Status::from_header_map(response.headers()).unwrap();
            (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
        };
        let frame = "FRAME_INVALID".to_owned();
        assert_eq!(reason(Status::out_of_range("x")), (Code::OutOfRange, frame.clone()));
        assert_eq!(reason(Status::internal("x")), (Code::InvalidArgument, frame));
        assert_eq!(reason(ApiError::internal().into()), (Code::Internal, "INTERNAL".to_owned()));
        assert_eq!(reason(Status::not_found("health: no such service")), (Code::NotFound, String::new()));
    }
}

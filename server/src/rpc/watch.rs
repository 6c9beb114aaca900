//! Watches every call from its first byte to its end: a layer in front of all others.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};

use crate::{
    identity::{ConnIdentity, Principal},
    observe::{Observer, observe},
    policy::table::method,
};

/// Puts [`Watch`] in front of services.
#[derive(Clone, Debug)]
pub(crate) struct WatchLayer {
    observer: Arc<Observer>,
}

/// Passes every call on, and takes note of how it ends.
#[derive(Clone, Debug)]
pub(crate) struct Watch<S> {
    observer: Arc<Observer>,
    inner: S,
}

/// What is known of a call; in its request's extensions.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    connection: Option<Arc<ConnIdentity>>,
    principal: OnceLock<Arc<Principal>>,
}

impl Call {
    /// Certificate and token agreed.
    pub(crate) fn admitted(&self, principal: &Arc<Principal>) {
        // Once per call.
        let _ = self.principal.set(Arc::clone(principal));
    }
}

impl WatchLayer {
    pub(crate) fn new(observer: Arc<Observer>) -> Self {
        Self { observer }
    }
}

impl<S> Layer<S> for WatchLayer {
    type Service = Watch<S>;

    fn layer(&self, inner: S) -> Watch<S> {
        Watch { observer: Arc::clone(&self.observer), inner }
    }
}

impl<S, B> Service<Request<B>> for Watch<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = Arc::new(Call {
            method: method(request.uri().path()).unwrap_or("other"),
            connection: request.extensions().get().cloned(),
            principal: OnceLock::new(),
        });
        request.extensions_mut().insert(Arc::clone(&call));
        let mut ongoing = Ongoing::begin(&self.observer, call);
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = answering.await?;
            // A refusal has no trailers: its status stands in the headers.
            ongoing.look_at(response.headers());
            Ok(response.map(|body| Body::new(Watched { body, ongoing })))
        })
    }
}

/// A call that has not ended. Dropped without an end, the client has gone away.
struct Ongoing {
    observer: Arc<Observer>,
    call: Arc<Call>,
    begun: Instant,
    is_stream: bool,
    ended: bool,
}

impl Ongoing {
    fn begin(observer: &Arc<Observer>, call: Arc<Call>) -> Self {
        let is_stream = matches!(
            call.method,
            "posthouse.v1.Publisher/PublishStream"
                | "posthouse.v1.Consumer/Consume"
                | "grpc.health.v1.Health/Watch"
        );
        if is_stream {
            observer.metrics.rpc.streams.with_label_values(&[call.method]).inc();
        }
        Self { observer: Arc::clone(observer), call, begun: Instant::now(), is_stream, ended: false }
    }

    fn look_at(&mut self, headers: &HeaderMap) {
        if !self.ended
            && let Some(status) = Status::from_header_map(headers)
        {
            self.end(&status);
        }
    }

    fn end(&mut self, status: &Status) {
        self.ended = true;
        let (rpc, method) = (&self.observer.metrics.rpc, self.call.method);
        rpc.calls.with_label_values(&[method, name(status.code())]).inc();
        if self.is_stream {
            rpc.streams.with_label_values(&[method]).dec();
        } else {
            observe(&rpc.duration.with_label_values(&[method]), self.begun.elapsed());
        }
        if status.code() == Code::Ok || status.code() == Code::Cancelled {
            return;
        }
        let info = status.get_details_error_info();
        let reason = info.as_ref().map_or_else(|| name(status.code()), |info| info.reason.as_str());
        rpc.refusals.with_label_values(&[reason]).inc();
        let refused = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
        if refused && self.call.principal.get().is_none() {
            rpc.auth_refusals.with_label_values(&[reason]).inc();
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&Status::cancelled(""));
        }
    }
}

/// A response's body, whose trailers say how the call ended.
struct Watched {
    body: Body,
    ongoing: Ongoing,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.ongoing.look_at(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// As the specification writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

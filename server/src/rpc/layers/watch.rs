//! The layer in front of all others: it counts, times and traces every call, and records refusals.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    observe::{CallSpan, Observer, observe},
    policy::Kind,
    rpc::{
        layers::call::{Call, is_refusal, reason},
        wire::code_name::code_name,
    },
};

/// Puts [`Watch`] in front of services.
#[derive(Clone, Debug)]
pub(crate) struct WatchLayer {
    observer: Arc<Observer>,
}

/// Passes every call on, and observes how it ends.
#[derive(Clone, Debug)]
pub(crate) struct Watch<S> {
    observer: Arc<Observer>,
    inner: S,
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
        let call = Arc::new(Call::new(&request));
        request.extensions_mut().insert(Arc::clone(&call));
        let telemetry = self.observer.telemetry.as_ref();
        let span = telemetry.and_then(|telemetry| telemetry.call(request.headers(), call.name()));
        let mut ongoing = Ongoing::begin(&self.observer, call, span);
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = answering.await?;
            // A refusal has no trailers: its status is in the headers.
            ongoing.check_end(response.headers());
            Ok(response.map(|body| Body::new(WatchedBody { body, ongoing })))
        })
    }
}

/// A call that has not ended. If it is dropped before its end, the client has closed it.
struct Ongoing {
    observer: Arc<Observer>,
    call: Arc<Call>,
    begun: Instant,
    span: Option<CallSpan>,
    ended: bool,
}

impl Ongoing {
    fn begin(observer: &Arc<Observer>, call: Arc<Call>, span: Option<CallSpan>) -> Self {
        if call.is_kind(Kind::Stream) {
            observer.metrics.rpc.streams.with_label_values(&[call.name()]).inc();
        }
        Self { observer: Arc::clone(observer), call, begun: Instant::now(), span, ended: false }
    }

    /// Ends the call if these headers or trailers have its status.
    fn check_end(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers).filter(|_| !self.ended) else { return };
        let reason = self.end(&status);
        if is_refusal(status.code()) {
            self.call.refused(&self.observer, status.code(), &reason);
        }
    }

    /// Counts the end of the call, and returns its reason.
    fn end(&mut self, status: &Status) -> String {
        self.ended = true;
        let (rpc, method) = (&self.observer.metrics.rpc, self.call.name());
        rpc.calls.with_label_values(&[method, code_name(status.code())]).inc();
        if self.call.is_kind(Kind::Stream) {
            rpc.streams.with_label_values(&[method]).dec();
        } else {
            observe(&rpc.duration.with_label_values(&[method]), self.begun.elapsed());
        }
        let reason = reason(status);
        if let Some(span) = self.span.take() {
            span.end(status.code(), &reason);
        }
        if reason.is_empty() {
            return reason;
        }
        rpc.refusals.with_label_values(&[reason.as_str()]).inc();
        if is_refusal(status.code()) && !self.call.is_admitted() {
            rpc.auth_refusals.with_label_values(&[reason.as_str()]).inc();
        }
        reason
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&Status::cancelled(""));
        }
    }
}

/// A response's body. Its trailers have the status of the call.
struct WatchedBody {
    body: Body,
    ongoing: Ongoing,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()) {
            self.ongoing.check_end(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

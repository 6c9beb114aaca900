//! Watches every call from its first byte to its end: a layer in front of all others.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};

use crate::{
    identity::{ConnIdentity, Principal, RefusedIdentity},
    observe::{Action, CallSpan, Caller, Observer, Record, RecordSlot, observe, trace_id},
    policy::{Kind, Method, methods},
};

/// Longer than any resource's name.
const MAX_RESOURCE_CHARS: usize = 256;

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
    /// Absent: there is no such method.
    method: Option<&'static Method>,
    /// Of one that there is not.
    path: String,
    connection: Option<Arc<ConnIdentity>>,
    refused: Option<Arc<RefusedIdentity>>,
    principal: OnceLock<Arc<Principal>>,
    about: OnceLock<String>,
    trace_id: Option<String>,
    /// Its end is on record.
    recorded: AtomicBool,
}

impl Call {
    /// Certificate and token agreed.
    pub(crate) fn admitted(&self, principal: &Arc<Principal>) {
        // Once per call.
        let _ = self.principal.set(Arc::clone(principal));
    }

    /// The resource that a request names, whether or not there is one, for the record of the call.
    pub(crate) fn names<T>(request: &tonic::Request<T>, resource: &str) {
        if let Some(call) = request.extensions().get::<Arc<Self>>() {
            call.is_about(resource);
        }
    }

    /// As [`names`](Self::names), for a stream, whose first frame names it.
    pub(crate) fn is_about(&self, resource: &str) {
        let _ = self.about.set(escaped(resource));
    }

    /// The method as a word.
    fn name(&self) -> &'static str {
        self.method.map_or("other", Method::name)
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.method.is_some_and(|method| method.kind == kind)
    }

    /// Records how a change ended, in the place that was taken for it; if it was refused, as a refusal.
    pub(crate) fn changed(&self, observer: &Observer, status: &Status, place: RecordSlot) {
        let reason = reason(status);
        if is_refusal(status.code()) {
            return self.refused(observer, status.code(), &reason);
        }
        self.recorded.store(true, Ordering::Relaxed);
        observer.access.put(&self.record(Action::Manage, status.code(), &reason), place);
    }

    /// Records a refusal, once.
    fn refused(&self, observer: &Observer, code: Code, reason: &str) {
        if observer.access.keeps_changes() && !self.recorded.swap(true, Ordering::Relaxed) {
            observer.access.refused(self.record(Action::Refused, code, reason));
        }
    }

    fn record<'a>(&'a self, action: Action, code: Code, reason: &'a str) -> Record<'a> {
        let caller = match &self.refused {
            Some(refused) => Caller::refused(refused),
            None => Caller::of(self.principal.get().map(Arc::as_ref), self.connection.as_deref()),
        };
        let mut record = Record::new(action, self.name(), caller);
        record.path.clone_from(&self.path);
        record.queue = self.about.get().cloned().unwrap_or_default();
        record.outcome = name(code);
        record.reason = reason.into();
        record.trace_id = self.trace_id.as_deref().unwrap_or_default().into();
        record
    }
}

/// Longer than any name can be; what is not ASCII is no name, and may only look like one.
fn escaped(name: &str) -> String {
    name.chars().flat_map(char::escape_default).take(MAX_RESOURCE_CHARS).collect()
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
        let method = methods::find(request.uri().path());
        let call = Arc::new(Call {
            method,
            path: method.map_or_else(|| escaped(request.uri().path()), |_| String::new()),
            connection: request.extensions().get().cloned(),
            refused: request.extensions().get().cloned(),
            principal: OnceLock::new(),
            about: OnceLock::new(),
            trace_id: trace_id(request.headers()).map(str::to_owned),
            recorded: AtomicBool::new(false),
        });
        request.extensions_mut().insert(Arc::clone(&call));
        let telemetry = self.observer.telemetry.as_ref();
        let span = telemetry.and_then(|telemetry| telemetry.call(request.headers(), call.name()));
        let mut ongoing = Ongoing::begin(&self.observer, call, span);
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
    span: Option<CallSpan>,
    ended: bool,
}

impl Ongoing {
    fn begin(observer: &Arc<Observer>, call: Arc<Call>, span: Option<CallSpan>) -> Self {
        if call.is(Kind::Stream) {
            observer.metrics.rpc.streams.with_label_values(&[call.name()]).inc();
        }
        Self { observer: Arc::clone(observer), call, begun: Instant::now(), span, ended: false }
    }

    /// Takes note of the end, if these headers, or trailers, are one.
    fn look_at(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers).filter(|_| !self.ended) else { return };
        let reason = self.end(&status);
        if is_refusal(status.code()) {
            self.call.refused(&self.observer, status.code(), &reason);
        }
    }

    /// Counts the end, and returns its reason.
    fn end(&mut self, status: &Status) -> String {
        self.ended = true;
        let (rpc, method) = (&self.observer.metrics.rpc, self.call.name());
        rpc.calls.with_label_values(&[method, name(status.code())]).inc();
        if self.call.is(Kind::Stream) {
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
        if is_refusal(status.code()) && self.call.principal.get().is_none() {
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
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()) {
            self.ongoing.look_at(trailers);
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

/// Certificate, token or grants do not allow it.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied)
}

/// Why, in a word; nothing of what went well.
fn reason(status: &Status) -> String {
    match status.code() {
        Code::Ok | Code::Cancelled => String::new(),
        code => {
            let info = status.get_details_error_info();
            info.map_or_else(|| name(code).to_owned(), |info| info.reason)
        }
    }
}

/// As the specification writes it.
pub(in crate::rpc) fn name(code: Code) -> &'static str {
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

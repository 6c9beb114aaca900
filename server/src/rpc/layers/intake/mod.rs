//! The layer behind `auth` that receives requests, and charges their bytes.
//!
//! The request of a unary call is assembled, and its elements counted, before it is decoded, so that a slow client
//! holds neither a handler nor a record slot. The requests of a stream go to its handler one by one ([`Requests`]),
//! past the gRPC library, which would decode them before their elements are counted. The bytes that have arrived are
//! charged to the connection's account until they are handled ([`RequestCharge`]); a unary call's answer is charged
//! until it is sent.

mod answer;
mod assembler;
mod elements;
mod fault;
mod requests;

use std::{
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tonic::{Status, body::Body};
use tower::Service;

pub(crate) use fault::RequestFault;
pub(crate) use requests::{Arrived, RequestFrames, Requests};

use crate::{
    account::{Charge, ConnectionAccounts, Wanted},
    door::Received,
    identity::ConnIdentity,
    limits::{ELEMENT_BYTES, MAX_FRAME_BYTES, MAX_HEALTH_BYTES, MAX_SETTLEMENT_BYTES},
    policy::{Kind, Method, Rpc, methods},
    quota::StreamSlot,
    rpc::{context::Context, wire::status::ApiError},
};
use answer::charged;
use assembler::{Assembler, PREFIX_BYTES, Terms};

/// Receives the requests of the services behind it.
#[derive(Clone)]
pub(crate) struct Intake<S> {
    context: Arc<Context>,
    inner: S,
}

/// The charge for a request, in its extensions. It is released when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct RequestCharge(#[allow(dead_code, reason = "held, not read")] Arc<Charge>);

impl RequestCharge {
    /// The charge for this request, to be held as long as a part of the request is in memory.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().cloned()
    }
}

impl<S> Intake<S> {
    pub(crate) fn new(context: Arc<Context>, inner: S) -> Self {
        Self { context, inner }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Received>> for Intake<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Received>) -> Answering {
        // `poll_ready` was called on the service itself, not on its clone.
        let next = self.inner.clone();
        let inner = mem::replace(&mut self.inner, next);
        let context = Arc::clone(&self.context);
        Box::pin(async move {
            let answer = match Incoming::new(&context, request) {
                Ok(incoming) => incoming.call(inner).await,
                Err(error) => Err(error),
            };
            Ok(answer.unwrap_or_else(|error| Status::from(error).into_http()))
        })
    }
}

/// A call whose request has not arrived yet.
struct Incoming {
    method: &'static Method,
    accounts: ConnectionAccounts,
    /// The slot among the tenant's streams, if the call may last.
    slot: Option<StreamSlot>,
    request: Request<Received>,
}

impl Incoming {
    fn new(context: &Context, request: Request<Received>) -> Result<Self, ApiError> {
        let fault = || ApiError::fault("a request has no connection, or no method");
        let method = methods::find(request.uri().path()).ok_or_else(fault)?;
        let accounts = request.extensions().get::<ConnectionAccounts>().cloned().ok_or_else(fault)?;
        let connection = request.extensions().get::<Arc<ConnIdentity>>().ok_or_else(fault)?;
        let quota = || context.quota(&connection.tenant);
        let slot = match may_last(method) {
            false => None,
            true if method.opened_by().is_none() => Some(quota()?.open_tokenless_stream()?),
            true => Some(quota()?.open_stream()?),
        };
        Ok(Self { method, accounts, slot, request })
    }

    async fn call<S>(self, mut inner: S) -> Result<Response<Body>, ApiError>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let Self { method, accounts, mut slot, request } = self;
        let terms = terms(method);
        let (mut head, body) = request.into_parts();
        let account = if method.opened_by().is_none() { &accounts.tokenless } else { &accounts.requests };
        let assembler = Assembler::new(body, account.clone(), accounts.counters.clone(), terms);
        if terms.open {
            head.extensions.insert(Requests::new(assembler, method, accounts.retained, slot));
            return Ok(never(inner.call(Request::from_parts(head, Body::empty())).await));
        }
        let (message, charge) = whole(assembler, method).await?;
        let held = RequestCharge(Arc::new(charge));
        head.extensions.insert(held.clone());
        let answer = never(inner.call(Request::from_parts(head, message)).await);
        drop(held);
        if method.kind != Kind::Stream {
            // The call is done; its answer needs no slot.
            slot = None;
        }
        charged(answer, method, &accounts, slot).await
    }
}

/// The terms for the request of a method.
fn terms(method: &Method) -> Terms {
    let wanted = match method.path {
        path if path == methods::Settle::METHOD.path
            || path == methods::ExtendLeases::METHOD.path
            || path == methods::Consume::METHOD.path =>
        {
            Wanted::Settlement
        }
        _ if method.opened_by().is_none() => Wanted::One,
        _ => Wanted::Request,
    };
    // A caller without a token may hold few bytes.
    let max_bytes = match wanted {
        Wanted::One => MAX_HEALTH_BYTES,
        Wanted::Settlement | Wanted::Overdue => MAX_SETTLEMENT_BYTES,
        Wanted::Request => MAX_FRAME_BYTES,
    };
    let open = [methods::PublishStream::METHOD.path, methods::Consume::METHOD.path].contains(&method.path);
    Terms { max_bytes, wanted, open }
}

/// Whether a call may continue as long as its caller wants.
fn may_last(method: &Method) -> bool {
    method.kind == Kind::Stream || method.path == methods::Receive::METHOD.path
}

/// The one message of a call, as a body for the library, once the client has ended its request; and the charge for it.
async fn whole(mut assembler: Assembler, method: &'static Method) -> Result<(Body, Charge), ApiError> {
    let Some((message, mut charge)) = poll_fn(|context| assembler.poll_next(context)).await? else {
        // The library refuses a request without a message.
        return Ok((Body::empty(), assembler.into_charge()));
    };
    if poll_fn(|context| assembler.poll_next(context)).await?.is_some() {
        return Err(RequestFault::TooMany.into());
    }
    charge.grow(elements::count(method, &message)?.saturating_mul(ELEMENT_BYTES));
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let prefix: [u8; PREFIX_BYTES] = [0, length[0], length[1], length[2], length[3]];
    let pieces = [Bytes::copy_from_slice(&prefix), message].map(|piece| Ok::<_, Status>(Frame::data(piece)));
    Ok((Body::new(StreamBody::new(futures_util::stream::iter(pieces))), charge))
}

fn never<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}

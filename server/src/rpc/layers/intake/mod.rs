//! Requests as they come in: a layer behind the one that asks who is calling, in front of every handler.
//!
//! The request of a unary call is put together before it is decoded, so that nobody holds a handler, or a place for a record,
//! for as long as it likes; its elements are counted first. A stream's requests are given to its handler one by one
//! ([`Requests`]), past the library, which would decode before anything could be counted. Whatever has come is charged to
//! the connection's account until it is handled ([`Held`]); so is a unary call's answer until it is sent.

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

pub(crate) use fault::Fault;
pub(crate) use requests::{Arrived, Frames, Requests};

use crate::{
    account::{Charge, ConnectionAccounts, Wanted},
    door::Received,
    identity::ConnIdentity,
    limits::{ELEMENT_BYTES, MAX_FRAME_BYTES, MAX_HEALTH_BYTES, MAX_SETTLEMENT_BYTES},
    policy::{Kind, Method, Rpc, methods},
    quota::StreamSlot,
    rpc::{context::Context, wire::status::ApiError},
};
use answer::answered;
use assembler::{Assembler, PREFIX_BYTES, Terms};

/// In front of the services.
#[derive(Clone)]
pub(crate) struct Intake<S> {
    context: Arc<Context>,
    inner: S,
}

/// In a request's extensions: what the request is charged, until it is handled.
#[derive(Clone)]
pub(crate) struct Held(#[allow(dead_code, reason = "held, not read")] Arc<Charge>);

impl Held {
    /// Of a request: to be kept as long as something of it is.
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
        // The one that is ready.
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

/// A call whose request is to come.
struct Incoming {
    method: &'static Method,
    accounts: ConnectionAccounts,
    /// Among the tenant's streams, if it may last.
    place: Option<StreamSlot>,
    request: Request<Received>,
}

impl Incoming {
    fn new(context: &Context, request: Request<Received>) -> Result<Self, ApiError> {
        let fault = || ApiError::fault("a request has no connection, or no method");
        let method = methods::find(request.uri().path()).ok_or_else(fault)?;
        let accounts = request.extensions().get::<ConnectionAccounts>().cloned().ok_or_else(fault)?;
        let connection = request.extensions().get::<Arc<ConnIdentity>>().ok_or_else(fault)?;
        let quota = || context.quota(&connection.tenant);
        let place = match lasts(method) {
            false => None,
            true if method.opened_by().is_none() => Some(quota()?.open_tokenless_stream()?),
            true => Some(quota()?.open_stream()?),
        };
        Ok(Self { method, accounts, place, request })
    }

    async fn call<S>(self, mut inner: S) -> Result<Response<Body>, ApiError>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let Self { method, accounts, mut place, request } = self;
        let terms = terms(method);
        let (mut head, body) = request.into_parts();
        let account = if method.opened_by().is_none() { &accounts.tokenless } else { &accounts.requests };
        let assembler = Assembler::new(body, account.clone(), accounts.counters.clone(), terms);
        if terms.open {
            head.extensions.insert(Requests::new(assembler, method, accounts.retained, place));
            return Ok(never(inner.call(Request::from_parts(head, Body::empty())).await));
        }
        let (message, charge) = whole(assembler, method).await?;
        let held = Held(Arc::new(charge));
        head.extensions.insert(held.clone());
        let answer = never(inner.call(Request::from_parts(head, message)).await);
        drop(held);
        if method.kind != Kind::Stream {
            // It has ended but for its answer.
            place = None;
        }
        answered(answer, method, &accounts, place).await
    }
}

/// What a call's request may be.
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
    // Who needs no token may hold little.
    let most_bytes = match wanted {
        Wanted::One => MAX_HEALTH_BYTES,
        Wanted::Settlement | Wanted::Overdue => MAX_SETTLEMENT_BYTES,
        Wanted::Request => MAX_FRAME_BYTES,
    };
    let open = [methods::PublishStream::METHOD.path, methods::Consume::METHOD.path].contains(&method.path);
    Terms { most_bytes, wanted, open }
}

/// Whether a call may go on for as long as its caller likes.
fn lasts(method: &Method) -> bool {
    method.kind == Kind::Stream || method.path == methods::Receive::METHOD.path
}

/// The one message of a call, for the library, once the client has ended its request; and what it is charged.
async fn whole(mut assembler: Assembler, method: &'static Method) -> Result<(Body, Charge), ApiError> {
    let Some((message, mut charge)) = poll_fn(|context| assembler.poll_next(context)).await? else {
        // The library has words for that.
        return Ok((Body::empty(), assembler.into_charge()));
    };
    if poll_fn(|context| assembler.poll_next(context)).await?.is_some() {
        return Err(Fault::TooMany.into());
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

//! The layer behind `auth` that acquires a slot among its tenant's connections for each connection on which a call has
//! a good token. It is in front of the services, so that a call that is refused for want of a slot has done nothing.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::{Request, Response};
use posthouse_proto::v1::ErrorReason;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::{
    door::{TenantFull, TenantSlot},
    limits::TENANT_FULL_RETRY,
    policy::Admitted,
    rpc::wire::status::ApiError,
};

/// Passes on calls whose connection has its tenant's slot, or acquires it now.
#[derive(Clone, Debug)]
pub(crate) struct AcquireTenantSlot<S>(pub(crate) S);

impl<S, B> Service<Request<B>> for AcquireTenantSlot<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // It is removed from the request, so that work that outlives the connection does not hold the slot.
        let slot = request.extensions_mut().remove::<TenantSlot>();
        // Calls that need no token acquire no slot.
        let admitted = request.extensions().get::<Admitted>().is_some();
        match slot.filter(|_| admitted).map_or(Ok(()), |slot| slot.acquire()) {
            Ok(()) => Either::Left(self.0.call(request)),
            Err(full) => Either::Right(ready(Ok(Status::from(refusal(&full)).into_http()))),
        }
    }
}

fn refusal(full: &TenantFull) -> ApiError {
    let text = format!("the tenant has reached a limit: {full}");
    ApiError::new(Code::ResourceExhausted, ErrorReason::LimitReached, text)
        .with_metadata("limit", "max_connections")
        .with_quota(format!("tenants/{}", full.tenant), full.to_string())
        .with_retry_delay(TENANT_FULL_RETRY)
}

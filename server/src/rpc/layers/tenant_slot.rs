//! A place among its tenant's connections for each connection whose call has a good token: a layer behind the one that says so,
//! and in front of the services, so that a call that is refused has done nothing.

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

/// Lets calls through whose connection has its place, or takes it now.
#[derive(Clone, Debug)]
pub(crate) struct Placed<S>(pub(crate) S);

impl<S, B> Service<Request<B>> for Placed<S>
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
        // It does not outlive the connection with what goes on here.
        let slot = request.extensions_mut().remove::<TenantSlot>();
        // Calls that need no token take none.
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

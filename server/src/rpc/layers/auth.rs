//! The layer in front of every service that authenticates the caller and decides whether it may make the call.
//!
//! It denies by default: a path that is not in the policy's table is refused, and a handler finds an [`Admitted`] in
//! the request's extensions only if certificate and token agree.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use prometheus::IntCounter;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    door::ConnectionAuth,
    identity::{
        CertificateError, ConnIdentity, IdentityError, Malformed, Principal, RefusedIdentity, TokenVerifier,
    },
    names::TenantName,
    pace::{Pace, Paced},
    policy::{Admitted, Denied, Method, methods},
    quota::Quota,
    rpc::{layers::call::Call, wire::status::ApiError},
};

/// Puts [`Auth`] in front of services.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    tokens: Arc<TokenVerifier>,
    calls: CallLimits,
}

/// The limits of tenants on their calls.
#[derive(Clone, Debug)]
pub(crate) struct CallLimits {
    pub(crate) quota: Quota,
    /// Counts calls that are refused for their tenant's limit.
    pub(crate) refused: IntCounter,
}

/// Passes a call on with an `Admitted` in its extensions, or refuses it.
#[derive(Clone, Debug)]
pub struct Auth<S> {
    tokens: Arc<TokenVerifier>,
    calls: CallLimits,
    inner: S,
}

impl AuthLayer {
    /// A layer that verifies tokens by `tokens`, and limits `calls`.
    pub(crate) fn new(tokens: Arc<TokenVerifier>, calls: CallLimits) -> Self {
        Self { tokens, calls }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { tokens: Arc::clone(&self.tokens), calls: self.calls.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Paced<S::Future>, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let auth = request.extensions().get::<ConnectionAuth>().cloned();
        let may_call = auth.as_ref().map_or(Ok(()), ConnectionAuth::may_call);
        let admitted =
            may_call.map_err(ApiError::from).and_then(|()| self.admit(&mut request, auth.as_ref()));
        match admitted {
            Ok(pace) => Either::Left(pace.paced(self.inner.call(request))),
            Err(error) => {
                tracing::debug!(
                    reason = error.reason().as_str_name(),
                    path = request.uri().path(),
                    "call refused"
                );
                Either::Right(ready(Ok(Status::from(error).into_http())))
            }
        }
    }
}

impl<S> Auth<S> {
    /// The pace at which the call's future is polled, or why the call is refused.
    fn admit<B>(&self, request: &mut Request<B>, auth: Option<&ConnectionAuth>) -> Result<Pace, ApiError> {
        let authenticated = connection(request)
            .and_then(|connection| Ok((self.authenticate(request, &connection, auth)?, connection)));
        let (caller, connection) =
            authenticated.inspect_err(|_| auth.into_iter().for_each(ConnectionAuth::failed))?;
        let pace = self.calls.pace(&connection.tenant, caller.is_none());
        let Some((method, principal)) = caller else {
            request.headers_mut().remove(AUTHORIZATION);
            return Ok(pace);
        };
        // A caller without a grant for the method on any resource is refused here; the handler checks the resource.
        let admitted = Admitted::new(method, Arc::clone(&principal));
        if let (Ok(_), Some(call)) = (&admitted, request.extensions().get::<Arc<Call>>()) {
            call.admitted(&principal);
        }
        // Calls that are refused count, too.
        self.calls.check(&principal, method)?;
        let admitted = admitted?;
        // No layer or handler behind this one needs the token itself.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(admitted);
        auth.into_iter().for_each(ConnectionAuth::succeeded);
        Ok(pace)
    }

    /// The method and its caller; `None` for a method that needs no token.
    fn authenticate<B>(
        &self,
        request: &Request<B>,
        connection: &ConnIdentity,
        auth: Option<&ConnectionAuth>,
    ) -> Result<Option<(&'static Method, Arc<Principal>)>, ApiError> {
        let method = methods::find(request.uri().path()).ok_or(Denied::MethodNotAllowed)?;
        if method.opened_by().is_none() {
            return Ok(None);
        }
        let token = bearer(request.headers())?;
        Ok(Some((method, verify(&self.tokens, token, connection, auth)?)))
    }
}

impl CallLimits {
    /// The pace of a tenant's calls. Those of a tenant that is not configured have the default pace: handlers refuse
    /// them.
    fn pace(&self, tenant: &TenantName, tokenless: bool) -> Pace {
        self.quota.tenant(tenant).map_or_else(Pace::default, |quota| quota.pace(tokenless).clone())
    }

    fn check(&self, principal: &Principal, method: &Method) -> Result<(), ApiError> {
        // A tenant that is not configured has no limits, and no resources.
        let Some(quota) = self.quota.tenant(&principal.tenant) else { return Ok(()) };
        let checked = quota.check_calls(method.frees_capacity(), Instant::now());
        Ok(checked.inspect_err(|_| self.refused.inc())?)
    }
}

/// Verifies a token that came on a connection, unless the connection has had too many failed tokens.
pub(in crate::rpc) fn verify(
    tokens: &TokenVerifier,
    token: &str,
    connection: &ConnIdentity,
    auth: Option<&ConnectionAuth>,
) -> Result<Arc<Principal>, IdentityError> {
    let may_verify = || auth.map_or(Ok(()), ConnectionAuth::may_verify);
    let verified = tokens.verify_if(token, connection, SystemTime::now(), may_verify);
    match (&verified, auth) {
        (Ok(_), Some(auth)) => auth.token_accepted(),
        (Err(error), Some(auth)) if error.costs_a_signature() => auth.token_refused(),
        _ => {}
    }
    verified
}

/// The identity that the door has put into the request, or why it found none.
fn connection<B>(request: &Request<B>) -> Result<Arc<ConnIdentity>, ApiError> {
    if let Some(connection) = request.extensions().get::<Arc<ConnIdentity>>() {
        return Ok(Arc::clone(connection));
    }
    let refused = request.extensions().get::<Arc<RefusedIdentity>>();
    let error = refused.map(|refused| refused.error.clone());
    Err(IdentityError::Certificate(error.unwrap_or(CertificateError::Unreadable)).into())
}

/// The token of exactly one `authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Result<&str, IdentityError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(IdentityError::TokenMissing)?;
    if values.next().is_some() {
        return Err(Malformed::Scheme.into());
    }
    let text = value.to_str().map_err(|_| Malformed::Scheme)?;
    let (scheme, token) = text.split_once(' ').ok_or(Malformed::Scheme)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Malformed::Scheme.into());
    }
    Ok(token)
}

#[cfg(test)]
mod tests;

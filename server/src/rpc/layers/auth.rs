//! Who may make a call: a layer in front of every service.
//!
//! Deny by default: a path that is not in the policy's table is refused, and a handler finds an [`Admitted`] in the
//! request's extensions only when certificate and token agreed.

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
    rpc::{layers::watch::Call, wire::status::ApiError},
};

/// Puts [`Auth`] in front of services.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    tokens: Arc<TokenVerifier>,
    calls: Calls,
}

/// What tenants may call in a second.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) quota: Quota,
    /// Counts those that are refused.
    pub(crate) refused: IntCounter,
}

/// Lets a call through with an `Admitted` in its extensions, or answers it.
#[derive(Clone, Debug)]
pub struct Auth<S> {
    tokens: Arc<TokenVerifier>,
    calls: Calls,
    inner: S,
}

impl AuthLayer {
    /// A layer that asks this verifier, and lets so many calls through.
    pub(crate) fn new(tokens: Arc<TokenVerifier>, calls: Calls) -> Self {
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
    /// The pace at which the call is worked on, if it may be made.
    fn admit<B>(&self, request: &mut Request<B>, auth: Option<&ConnectionAuth>) -> Result<Pace, ApiError> {
        let known = connection(request)
            .and_then(|connection| Ok((self.authenticate(request, &connection, auth)?, connection)));
        let known = known.inspect_err(|_| auth.into_iter().for_each(ConnectionAuth::failed))?;
        let (known, connection) = known;
        let pace = self.calls.pace(&connection.tenant, known.is_none());
        let Some((method, principal)) = known else {
            request.headers_mut().remove(AUTHORIZATION);
            return Ok(pace);
        };
        // The handler asks for a permit on the resource; what no resource could pass ends here.
        let admitted = Admitted::new(method, Arc::clone(&principal));
        if let (Ok(_), Some(call)) = (&admitted, request.extensions().get::<Arc<Call>>()) {
            call.admitted(&principal);
        }
        // A refusal, too, is a call.
        self.calls.check(&principal, method)?;
        let admitted = admitted?;
        // Nothing further in has a use for the token itself.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(admitted);
        auth.into_iter().for_each(ConnectionAuth::succeeded);
        Ok(pace)
    }

    /// Who calls which method; nobody where none has to be known.
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

impl Calls {
    /// Calls of a tenant that is not configured are refused by their handlers.
    fn pace(&self, tenant: &TenantName, tokenless: bool) -> Pace {
        self.quota.tenant(tenant).map_or_else(Pace::default, |quota| quota.pace(tokenless).clone())
    }

    fn check(&self, principal: &Principal, method: &Method) -> Result<(), ApiError> {
        // A tenant that is not configured has nothing to call for.
        let Some(quota) = self.quota.tenant(&principal.tenant) else { return Ok(()) };
        let checked = quota.check_calls(method.frees_capacity(), Instant::now());
        Ok(checked.inspect_err(|_| self.refused.inc())?)
    }
}

/// Verifies a token that came on a connection, if as it stands that may be done.
pub(in crate::rpc) fn verify(
    tokens: &TokenVerifier,
    token: &str,
    connection: &ConnIdentity,
    auth: Option<&ConnectionAuth>,
) -> Result<Arc<Principal>, IdentityError> {
    let may = || auth.map_or(Ok(()), ConnectionAuth::may_verify);
    let verified = tokens.verify_if(token, connection, SystemTime::now(), may);
    match (&verified, auth) {
        (Ok(_), Some(auth)) => auth.token_accepted(),
        (Err(error), Some(auth)) if error.costs_a_signature() => auth.token_refused(),
        _ => {}
    }
    verified
}

/// The identity that the door left in the request, or why it found none.
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

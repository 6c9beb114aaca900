//! SPIFFE ids: `spiffe://{trust domain}/tenant/{tenant}/{rest}`.

use std::{fmt, sync::Arc};

use thiserror::Error;

use crate::{
    limits::MAX_SPIFFE_ID_BYTES,
    names::{NameError, TenantName},
};

/// The trust domain that every caller's identity must be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain(Arc<str>);

/// A caller's identity as its certificate states it.
#[derive(Clone, PartialEq, Eq)]
pub struct SpiffeId {
    uri: Arc<str>,
    tenant: TenantName,
}

/// Why a URI is not an identity here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpiffeIdError {
    /// Not `spiffe://{trust domain}/tenant/{tenant}/{rest}`.
    #[error("its URI is not spiffe://<trust domain>/tenant/<tenant>/<rest>")]
    Shape,
    /// Another trust domain than the configured one.
    #[error("its URI is of another trust domain")]
    TrustDomain,
    /// The tenant's segment is no tenant name.
    #[error("its URI: {0}")]
    Tenant(#[from] NameError),
}

impl TrustDomain {
    /// Keeps a trust domain of 1 to 255 of `a-z`, `0-9`, `.`, `-` and `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let good = (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        good.then(|| Self(text.into()))
    }

    /// The trust domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// Reads an identity and refuses whatever is not exactly one of the configured trust domain.
    pub fn parse(uri: &str, trust_domain: &TrustDomain) -> Result<Self, SpiffeIdError> {
        if uri.len() > MAX_SPIFFE_ID_BYTES {
            return Err(SpiffeIdError::Shape);
        }
        let (domain, path) = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(SpiffeIdError::Shape)?;
        if domain != trust_domain.as_str() {
            return Err(SpiffeIdError::TrustDomain);
        }
        let mut segments = path.split('/');
        let (Some("tenant"), Some(tenant)) = (segments.next(), segments.next()) else {
            return Err(SpiffeIdError::Shape);
        };
        let tenant = TenantName::parse(tenant)?;
        let mut rest = segments.peekable();
        if rest.peek().is_none() || !rest.all(is_segment) {
            return Err(SpiffeIdError::Shape);
        }
        Ok(Self { uri: uri.into(), tenant })
    }

    /// The tenant it speaks for.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }
}

/// A path segment as the SPIFFE specification has it: no escapes, nothing relative.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::{SpiffeId, SpiffeIdError, TrustDomain};

    fn parse(uri: &str) -> Result<SpiffeId, SpiffeIdError> {
        SpiffeId::parse(uri, &TrustDomain::parse("posthouse.internal").unwrap())
    }

    #[test]
    fn an_identity_names_its_tenant() {
        let id = parse("spiffe://posthouse.internal/tenant/taxation/service/returns").unwrap();
        assert_eq!(id.tenant().as_str(), "taxation");
        assert_eq!(id.as_str(), "spiffe://posthouse.internal/tenant/taxation/service/returns");
    }

    #[test]
    fn whatever_else_is_refused() {
        for uri in [
            "",
            "spiffe://",
            "spiffe://posthouse.internal",
            "spiffe://posthouse.internal/",
            "spiffe://posthouse.internal/tenant",
            "spiffe://posthouse.internal/tenant/",
            "spiffe://posthouse.internal/tenant/t",
            "spiffe://posthouse.internal/tenant/t/",
            "spiffe://posthouse.internal/tenant/t//x",
            "spiffe://posthouse.internal/tenant/t/../u/x",
            "spiffe://posthouse.internal/tenant/t/./x",
            "spiffe://posthouse.internal/tenant/t/x/",
            "spiffe://posthouse.internal/tenant/T/x",
            "spiffe://posthouse.internal/tenant/t/x?y",
            "spiffe://posthouse.internal/tenant/t/x#y",
            "spiffe://posthouse.internal/tenant/t/%78",
            "spiffe://posthouse.internal/Tenant/t/x",
            "spiffe://posthouse.internal//tenant/t/x",
            "spiffe://posthouse.internal/x/tenant/t/y",
            "SPIFFE://posthouse.internal/tenant/t/x",
            "https://posthouse.internal/tenant/t/x",
            "spiffe:/posthouse.internal/tenant/t/x",
            "spiffe://posthouse.internal/tenant/t/x\0",
            "spiffe://posthouse.internal/tenant/t/x\n",
            " spiffe://posthouse.internal/tenant/t/x",
        ] {
            assert!(parse(uri).is_err(), "{uri:?} was accepted");
        }
        for uri in [
            "spiffe://other.internal/tenant/t/x",
            "spiffe://POSTHOUSE.internal/tenant/t/x",
            "spiffe://posthouse.internal.evil/tenant/t/x",
            "spiffe://x.posthouse.internal/tenant/t/x",
            "spiffe://u@posthouse.internal/tenant/t/x",
            "spiffe://posthouse.internal:443/tenant/t/x",
        ] {
            assert_eq!(parse(uri), Err(SpiffeIdError::TrustDomain), "{uri:?}");
        }
        assert!(parse(&format!("spiffe://posthouse.internal/tenant/t/{}", "x".repeat(3000))).is_err());
    }
}

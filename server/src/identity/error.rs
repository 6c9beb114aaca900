//! Why a caller is not known. Nothing here repeats a token, a claim or a certificate.

use std::time::Duration;

use thiserror::Error;

use crate::{
    grants::ScopeError,
    identity::spiffe::SpiffeIdError,
    limits::{MAX_CHAIN_CERTIFICATES, MAX_TOKEN_BYTES, MAX_TOKEN_DEPTH},
};

/// Why a token, or its certificate, was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The client certificate carries no usable identity.
    #[error("the client certificate has no usable identity: {0}")]
    Certificate(#[from] CertificateError),
    /// There is no `authorization` header, or an empty one.
    #[error("no token: send exactly one authorization header, \"Bearer\" and a token")]
    TokenMissing,
    /// The token is not of the form required.
    #[error("the token is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The issuer is not configured, or not for this tenant.
    #[error("the token's issuer is not known for this tenant")]
    IssuerUnknown,
    /// The issuer's key set has no such key.
    #[error("the token's key is not in its issuer's key set")]
    KeyUnknown,
    /// The signature is not the key's, or made with another algorithm than the key's.
    #[error("the token's signature is not valid")]
    SignatureInvalid,
    /// `aud` is not this installation's.
    #[error("the token is for another audience")]
    AudienceWrong,
    /// `exp - iat` is more than is allowed.
    #[error("the token's lifetime is longer than is allowed")]
    LifetimeTooLong,
    /// The scope has an item that cannot be read.
    #[error("the token's scope is refused: {0}")]
    Scope(#[from] ScopeError),
    /// The token is bound to another certificate, or to none.
    #[error("the token is not bound to this connection's certificate")]
    CertificateMismatch,
    /// Too many calls of the connection were not authenticated.
    #[error(
        "too many calls of this connection were not authenticated, so it is being closed and no more of its tokens are \
         checked: open another one, with a good token"
    )]
    ConnectionThrottled,
    /// Too many tokens with the certificate were not good.
    #[error(
        "too many tokens with this certificate were not good, so no further one is checked for a moment; those that \
         were checked before are taken. Find out which client with this certificate sends them"
    )]
    CertificateThrottled {
        /// How long no token is checked.
        retry: Duration,
    },
    /// The certificate's tenant is not the token's.
    #[error("the certificate's tenant and the token's differ")]
    TenantMismatch,
}

impl IdentityError {
    /// Whether a token may have been verified to find this out.
    pub(crate) fn costs_a_signature(&self) -> bool {
        match self {
            Self::Certificate(_)
            | Self::TokenMissing
            | Self::Malformed(_)
            | Self::Expired
            | Self::ConnectionThrottled
            | Self::CertificateThrottled { .. } => false,
            Self::NotYetValid
            | Self::IssuerUnknown
            | Self::KeyUnknown
            | Self::SignatureInvalid
            | Self::AudienceWrong
            | Self::LifetimeTooLong
            | Self::Scope(_)
            | Self::CertificateMismatch
            | Self::TenantMismatch => true,
        }
    }
}

/// The fault of a certificate that the authorities have signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// It could not be read.
    #[error("it cannot be read")]
    Unreadable,
    /// Certificates carry exactly one URI among their alternative names.
    #[error("it has {count} URI alternative names; exactly one is required")]
    UriCount {
        /// How many it has.
        count: usize,
    },
    /// The URI is not an identity.
    #[error(transparent)]
    SpiffeId(#[from] SpiffeIdError),
    /// The authority that issued it may not speak for this tenant.
    #[error("its authority may not speak for its tenant")]
    AuthorityNotForTenant,
    /// It is valid for longer than the server's operators allow.
    #[error(
        "it is valid for {} seconds in all, and at most {} are allowed here \
         (identity.max_certificate_lifetime_seconds)",
        lifetime.as_secs(),
        allowed.as_secs()
    )]
    LifetimeTooLong {
        /// From its beginning to its end.
        lifetime: Duration,
        /// The allowed duration.
        allowed: Duration,
    },
    /// The chain is longer than is accepted.
    #[error("its chain has more than {MAX_CHAIN_CERTIFICATES} certificates")]
    ChainTooLong,
}

/// How a token deviates from the required form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// More bytes than are read.
    #[error("it has more than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// Not three parts with dots between.
    #[error("it is not three parts with dots between")]
    Parts,
    /// The `authorization` header is there more than once, or not of the scheme `Bearer`.
    #[error("the authorization header must be there once and read \"Bearer\" and a token")]
    Scheme,
    /// A part is not base64url without padding.
    #[error("its {part} is not base64url without padding")]
    Base64 {
        /// `header`, `claims` or `signature`.
        part: &'static str,
    },
    /// A part is no JSON object, repeats a member, or nests too deep.
    #[error("its {part} is not a JSON object without repeated members, at most {MAX_TOKEN_DEPTH} deep")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// A required member is not there.
    #[error("\"{member}\" is missing")]
    Missing {
        /// Which.
        member: &'static str,
    },
    /// A member is of the wrong type or length.
    #[error("\"{member}\" must be {expected}")]
    Member {
        /// Which.
        member: &'static str,
        /// The expected form.
        expected: &'static str,
    },
    /// A header member that would change how the token is read.
    #[error("the header may not have \"{member}\"")]
    Forbidden {
        /// Which.
        member: &'static str,
    },
}

//! How a token is bound to the certificate it may be used with. There is no unbound mode.

use subtle::ConstantTimeEq as _;

use super::{ConnIdentity, IdentityError, claims::Claims};

/// How an issuer binds its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Binding {
    /// `cnf` carries the certificate's SHA-256: the token dies with the certificate.
    #[default]
    CertificateHash,
    /// `sub` is the certificate's SPIFFE id: the token outlives a renewal of the certificate.
    SpiffeId,
}

impl Binding {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateHash => "x5t#S256",
            Self::SpiffeId => "spiffe",
        }
    }

    /// Reads the word in the configuration.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::CertificateHash, Self::SpiffeId].into_iter().find(|binding| binding.as_str() == text)
    }

    /// Refuses a token that is not bound to this connection's certificate.
    pub(super) fn check(self, claims: &Claims, connection: &ConnIdentity) -> Result<(), IdentityError> {
        let hash_fits =
            claims.certificate_sha256.map(|hash| bool::from(hash.ct_eq(&connection.certificate_sha256)));
        let bound = match self {
            Self::CertificateHash => hash_fits == Some(true),
            // No hash is required, but one that is present is checked.
            Self::SpiffeId => {
                let subject_fits = claims.sub.as_bytes().ct_eq(connection.spiffe_id.as_str().as_bytes());
                bool::from(subject_fits) && hash_fits != Some(false)
            }
        };
        if bound { Ok(()) } else { Err(IdentityError::CertificateMismatch) }
    }
}

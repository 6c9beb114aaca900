//! The caller, once certificate and token agree.

use std::time::SystemTime;

use crate::{grants::Grants, identity::KeyLife, names::TenantName};

/// The caller and its grants. It holds nothing that could be used to call again.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The tenant of certificate and token.
    pub tenant: TenantName,
    /// The token's `sub`: with the tenant, what sessions are bound to.
    pub subject: String,
    /// The token's `client_id`.
    pub client_id: String,
    /// The token's `jti`.
    pub jti: String,
    /// The token's `exp`: every right of it ends here.
    pub expires_at: SystemTime,
    /// The token's `scope`.
    pub grants: Grants,
    /// The life of the key that signed the token: every right of it ends with it, too.
    pub key: KeyLife,
    /// SHA-256 of the certificate that the token was sent with.
    pub certificate_sha256: [u8; 32],
}

impl Principal {
    /// Whether another token speaks for the same tenant and subject, so that it may replace this one on a stream.
    pub fn is_same_caller(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.subject == other.subject
    }
}

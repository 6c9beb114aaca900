//! The identity of a connection, from the leaf of a verified chain.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{CertificateError, CertificateFields, SpiffeId, TrustDomain};
use crate::names::TenantName;

/// The caller of a connection. Made once, after the handshake; handlers find it in every request.
#[derive(Clone, Debug)]
pub struct ConnIdentity {
    /// The tenant that the certificate speaks for.
    pub tenant: TenantName,
    /// The identity in the certificate.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of the certificate.
    pub certificate_sha256: [u8; 32],
    /// When the certificate ends, and the connection with it.
    pub not_after: SystemTime,
    /// From the certificate's beginning to its end.
    pub lifetime: Duration,
    /// The address of the peer. For logs; nothing is decided by it.
    pub peer: SocketAddr,
}

/// A certificate that an authority has signed and that has no usable identity, as far as a record can describe it.
#[derive(Clone, Debug)]
pub struct RefusedIdentity {
    /// Why it has no usable identity.
    pub error: CertificateError,
    /// The tenants that its authority may speak for: whose certificate it is, whatever it says.
    pub authority_tenants: BTreeSet<TenantName>,
    /// The identity it claims, if it claims exactly one. It is not verified.
    pub claimed: Option<String>,
    /// SHA-256 of the certificate.
    pub certificate_sha256: [u8; 32],
    /// The address of the peer.
    pub peer: SocketAddr,
}

impl RefusedIdentity {
    /// Of this leaf, of an authority that may speak for `tenants`.
    pub fn new(
        leaf: &[u8],
        tenants: BTreeSet<TenantName>,
        error: CertificateError,
        peer: SocketAddr,
    ) -> Self {
        let certificate = X509Certificate::from_der(leaf).ok();
        let claimed = certificate.and_then(|(_, certificate)| only_uri(&certificate).ok().map(str::to_owned));
        Self { error, authority_tenants: tenants, claimed, certificate_sha256: sha256(&[leaf]), peer }
    }
}

impl ConnIdentity {
    /// Refuses a certificate that is valid for longer than is allowed.
    pub fn within(self, max_lifetime: Option<Duration>) -> Result<Self, CertificateError> {
        match max_lifetime {
            Some(allowed) if self.lifetime > allowed => {
                Err(CertificateError::LifetimeTooLong { lifetime: self.lifetime, allowed })
            }
            _ => Ok(self),
        }
    }

    /// Reads the identity of `leaf`, whose chain ends in authorities that may speak for `tenants`.
    pub fn from_leaf(
        leaf: &[u8],
        tenants: &BTreeSet<TenantName>,
        trust_domain: &TrustDomain,
        peer: SocketAddr,
    ) -> Result<Self, CertificateError> {
        let (rest, certificate) =
            X509Certificate::from_der(leaf).map_err(|_| CertificateError::Unreadable)?;
        if !rest.is_empty() {
            return Err(CertificateError::Unreadable);
        }
        let spiffe_id = SpiffeId::parse(only_uri(&certificate)?, trust_domain)?;
        if !tenants.contains(spiffe_id.tenant()) {
            return Err(CertificateError::AuthorityNotForTenant);
        }
        let (begins, ends) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        let seconds = u64::try_from(ends).map_err(|_| CertificateError::Unreadable)?;
        let not_after = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or(CertificateError::Unreadable)?;
        let lifetime =
            u64::try_from(ends.saturating_sub(begins)).map_err(|_| CertificateError::Unreadable)?;
        Ok(Self {
            tenant: spiffe_id.tenant().clone(),
            spiffe_id,
            certificate_sha256: sha256(&[leaf]),
            not_after,
            lifetime: Duration::from_secs(lifetime),
            peer,
        })
    }
}

/// When a certificate ends.
pub fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    CertificateFields::read(certificate)?.not_after.moment()
}

/// SHA-256 over the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Whether a certificate is an authority's, so that it can be the root of others.
pub fn is_authority(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    matches!(certificate.basic_constraints(), Ok(Some(extension)) if extension.value.ca)
}

/// The one URI among the alternative names. A name that cannot be read might be another, so it refuses them all.
fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, CertificateError> {
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Unreadable)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(CertificateError::Unreadable),
            _ => {}
        }
    }
    match uris.as_slice() {
        [uri] => Ok(uri),
        uris => Err(CertificateError::UriCount { count: uris.len() }),
    }
}

#[cfg(test)]
mod tests;

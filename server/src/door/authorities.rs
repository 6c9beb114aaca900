//! The authorities that vouch for client certificates, and the tenants that each may speak for.
//!
//! Certificates cannot carry the limit "this authority only for that tenant" in a way that verifiers honour, so the
//! chain is verified against each authority on its own, and the tenant of the leaf is compared with what those
//! authorities may speak for.

use std::{collections::BTreeSet, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::{
    certificates::{TlsError, provider, verifier},
    config::Authority,
    limits::MAX_CHAIN_CERTIFICATES,
    names::TenantName,
};

/// Every configured authority.
#[derive(Debug)]
pub struct Authorities {
    authorities: Vec<Anchored>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Anchored {
    verifier: Arc<dyn ClientCertVerifier>,
    tenants: BTreeSet<TenantName>,
}

impl Authorities {
    /// Makes a verifier for each authority.
    pub fn new(authorities: &[Authority]) -> Result<Self, TlsError> {
        let anchored = |authority: &Authority| {
            Ok(Anchored { verifier: verifier(&authority.roots)?, tenants: authority.tenants.clone() })
        };
        Ok(Self {
            authorities: authorities.iter().map(anchored).collect::<Result<_, TlsError>>()?,
            algorithms: provider().signature_verification_algorithms,
        })
    }

    /// The tenants that the authorities of this chain may speak for.
    pub(super) fn tenants_of(&self, chain: &[CertificateDer<'_>]) -> BTreeSet<TenantName> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return BTreeSet::new();
        };
        let now = UnixTime::now();
        let trust_watch = self
            .authorities
            .iter()
            .filter(|authority| authority.verifier.verify_client_cert(leaf, intermediates, now).is_ok());
        trust_watch.flat_map(|authority| authority.tenants.iter().cloned()).collect()
    }
}

impl ClientCertVerifier for Authorities {
    /// Empty: a stranger need not learn which agencies are served here.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut answer = Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        if intermediates.len() >= MAX_CHAIN_CERTIFICATES {
            return Err(answer);
        }
        for authority in &self.authorities {
            match authority.verifier.verify_client_cert(leaf, intermediates, now) {
                Ok(verified) => return Ok(verified),
                // Of two refusals the more precise one is reported: "expired" rather than "unknown".
                Err(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {}
                Err(error) => answer = error,
            }
        }
        Err(answer)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

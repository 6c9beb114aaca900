//! Certificates and keys as material for TLS: whether they can be used, and whether clients would accept them.
//!
//! The configuration, its reload and the door check them alike.

mod judgement;

use std::sync::Arc;

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

pub use judgement::{CertificateFault, Judgement, names_dropped};

/// Why certificates and keys do not make a TLS configuration.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate or its key cannot be used, or are not of one pair.
    #[error("the server's certificate and key cannot be used: {0}")]
    Certificate(#[source] rustls::Error),
    /// A root of an authority cannot be used.
    #[error("a certificate of an authority cannot be used: {0}")]
    Root(#[source] rustls::Error),
    /// An authority without roots.
    #[error("an authority cannot be used: {0}")]
    Verifier(#[source] VerifierBuilderError),
    /// The provider lacks TLS 1.3.
    #[error("TLS 1.3 is not available: {0}")]
    Version(#[source] rustls::Error),
}

/// Whether the private key is that of the chain's first certificate.
pub fn check_certificate(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), TlsError> {
    CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider())
        .map(drop)
        .map_err(TlsError::Certificate)
}

/// Whether these certificates can be the roots of an authority.
pub fn check_roots(roots: &[CertificateDer<'static>]) -> Result<(), TlsError> {
    verifier(roots).map(drop)
}

/// The only provider of cryptography, named wherever one is needed: no process-wide default is relied on.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A verifier with these roots alone; also how a configuration is checked.
pub(crate) fn verifier(roots: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(TlsError::Root)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
        .build()
        .map_err(TlsError::Verifier)
}

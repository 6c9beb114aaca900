//! The TLS configuration: 1.3 only, client certificates, no resumption, no early data, HTTP/2 only.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, VerifierBuilderError},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use super::authorities::{Authorities, verifier};
use crate::config::TlsConfig;

/// The only protocol spoken here.
pub(super) const ALPN_H2: &[u8] = b"h2";

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
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(super) fn server_config(
    tls: &TlsConfig,
    authorities: Arc<Authorities>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Version)?
        .with_client_cert_verifier(authorities)
        .with_single_cert(tls.chain.clone(), tls.key.clone_key())
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // A resumed session would take the client's certificate from the ticket and not verify it again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Why a handshake failed, as one of a few words for a metric's label.
pub(super) fn failure(error: &std::io::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    let Some(error) = error.get_ref().and_then(|source| source.downcast_ref::<Error>()) else {
        return "broken_off";
    };
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "certificate_expired"
        }
        Error::InvalidCertificate(Certificate::UnknownIssuer) => "certificate_unknown_issuer",
        Error::InvalidCertificate(Certificate::Revoked) => "certificate_revoked",
        Error::InvalidCertificate(_) => "certificate_invalid",
        Error::AlertReceived(_) => "refused_by_client",
        Error::PeerIncompatible(_) => "incompatible",
        Error::InvalidMessage(_) => "not_tls",
        _ => "failed",
    }
}

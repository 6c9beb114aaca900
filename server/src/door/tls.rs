//! The TLS configuration: 1.3 only, client certificates, no resumption, no early data, HTTP/2 only.

use std::sync::Arc;

use rustls::{ServerConfig, server::NoServerSessionStorage, version::TLS13};

use crate::{
    certificates::{TlsError, provider},
    config::TlsConfig,
    door::authorities::Authorities,
};

/// The only protocol spoken here.
pub(super) const ALPN_H2: &[u8] = b"h2";

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
    // A resumed session would use the client's certificate of the ticket without verifying it again.
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

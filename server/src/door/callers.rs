//! The caller of a connection: the identity in a certificate that an authority has signed, and its end.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls_pki_types::CertificateDer;

use super::{authorities::Authorities, h2::Identity};
use crate::{
    config::IdentityConfig,
    identity::{ConnIdentity, RefusedIdentity},
    limits::{LONG_CERTIFICATE_LIFETIME, MAX_LONG_CERTIFICATES_REPORTED},
};

/// Further checks of callers' certificates.
#[derive(Debug)]
pub(super) struct Callers {
    config: IdentityConfig,
    /// Certificates whose long life was warned of.
    reported: Mutex<HashSet<[u8; 32]>>,
}

impl Callers {
    pub(super) fn new(config: IdentityConfig) -> Self {
        Self { config, reported: Mutex::default() }
    }

    /// The identity of a verified chain's leaf.
    pub(super) fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        authorities: &Authorities,
        peer: SocketAddr,
    ) -> Identity {
        // Without a certificate there is no connection.
        let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let tenants = authorities.tenants_of(chain);
        let known = ConnIdentity::from_leaf(leaf, &tenants, &self.config.trust_domain, peer)
            .and_then(|known| known.within(self.config.max_certificate_lifetime));
        match known {
            Ok(known) => {
                if known.lifetime > LONG_CERTIFICATE_LIFETIME {
                    self.report_once(&known);
                }
                Ok(Arc::new(known))
            }
            Err(error) => Err(Arc::new(RefusedIdentity::new(leaf, tenants, error, peer))),
        }
    }

    /// Warns of a certificate once, of a limited number of certificates, and once that there are more.
    fn report_once(&self, known: &ConnIdentity) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reported.len();
        if before > MAX_LONG_CERTIFICATES_REPORTED || !reported.insert(known.certificate_sha256) {
            return;
        }
        drop(reported);
        let days = known.lifetime.as_secs() / (24 * 3600);
        let advice = "a client certificate is valid for more than a year: whoever gets hold of its key can use it \
        until then; issue shorter ones (identity.max_certificate_lifetime_seconds refuses them)";
        if before < MAX_LONG_CERTIFICATES_REPORTED {
            tracing::warn!(spiffe_id = %known.spiffe_id, days, "{advice}");
        } else {
            tracing::warn!(
                "there are more client certificates that are valid for more than a year; no more are named"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Callers;
    use crate::{
        config::IdentityConfig,
        identity::{
            TokenPolicy,
            testing::{connection, trust_domain},
        },
        limits::MAX_LONG_CERTIFICATES_REPORTED,
    };

    #[test]
    fn what_is_remembered_is_bounded() {
        let tokens = TokenPolicy { audience: String::new(), max_lifetime: Duration::ZERO };
        let callers = Callers::new(IdentityConfig {
            trust_domain: trust_domain(),
            tokens,
            max_certificate_lifetime: None,
        });
        let mut known = connection("taxation", "returns");
        for number in 0..3 * MAX_LONG_CERTIFICATES_REPORTED {
            known.certificate_sha256 = crate::identity::sha256(&[&number.to_be_bytes()]);
            callers.report_once(&known);
            callers.report_once(&known);
        }
        assert_eq!(callers.reported.lock().unwrap().len(), MAX_LONG_CERTIFICATES_REPORTED + 1);
    }
}

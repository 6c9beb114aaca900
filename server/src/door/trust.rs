//! The material of handshakes: the server's certificate and the clients' authorities, replaced while the server runs.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::TlsError,
    config::{Authority, TlsConfig},
    door::{authorities::Authorities, tls::server_config},
    names::TenantName,
};

/// The way to replace what handshakes are judged by. A handshake that has begun goes on under what it began with.
#[derive(Clone, Debug)]
pub struct Trust {
    current: Arc<watch::Sender<Arc<Snapshot>>>,
}

/// One state of it: a handshake uses one snapshot.
pub(super) struct Snapshot {
    pub(super) tls: TlsAcceptor,
    pub(super) authorities: Arc<Authorities>,
}

/// Whether a connection's certificate is still vouched for.
pub(super) struct TrustWatch {
    changes: watch::Receiver<Arc<Snapshot>>,
    judged_by: Arc<Authorities>,
    chain: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub(super) fn new(tls: &TlsConfig, authorities: &[Authority]) -> Result<Self, TlsError> {
        let snapshot = Snapshot::new(tls, Arc::new(Authorities::new(authorities)?))?;
        Ok(Self { current: Arc::new(watch::Sender::new(Arc::new(snapshot))) })
    }

    /// Shows another certificate from now on. OpenGauge connections go on.
    pub fn replace_certificate(&self, tls: &TlsConfig) -> Result<(), TlsError> {
        let authorities = Arc::clone(&self.current.borrow().authorities);
        self.current.send_replace(Arc::new(Snapshot::new(tls, authorities)?));
        Ok(())
    }

    /// Trusts other authorities from now on. Connections with certificates that none of them has signed are closed.
    pub fn replace_authorities(&self, tls: &TlsConfig, authorities: &[Authority]) -> Result<(), TlsError> {
        let authorities = Arc::new(Authorities::new(authorities)?);
        self.current.send_replace(Arc::new(Snapshot::new(tls, authorities)?));
        Ok(())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }
}

impl Snapshot {
    fn new(tls: &TlsConfig, authorities: Arc<Authorities>) -> Result<Self, TlsError> {
        let config = server_config(tls, Arc::clone(&authorities))?;
        Ok(Self { tls: TlsAcceptor::from(Arc::new(config)), authorities })
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}

impl TrustWatch {
    /// For a chain that these authorities have signed; later ones arrive through `changes`.
    pub(super) fn new(
        changes: watch::Receiver<Arc<Snapshot>>,
        judged_by: Arc<Authorities>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { changes, judged_by, chain }
    }

    /// Returns when no authority that may speak for the tenant vouches for the chain any more.
    pub(super) async fn lost(mut self, tenant: &TenantName) {
        while self.changes.changed().await.is_ok() {
            let authorities = Arc::clone(&self.changes.borrow_and_update().authorities);
            // A new certificate of the server's changes nothing here.
            if !Arc::ptr_eq(&authorities, &self.judged_by) {
                if !authorities.tenants_of(&self.chain).contains(tenant) {
                    return;
                }
                self.judged_by = authorities;
            }
        }
        std::future::pending().await
    }
}

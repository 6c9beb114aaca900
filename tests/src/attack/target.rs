//! The server of an attack, and the attacker's credentials.

use std::{net::SocketAddr, sync::Arc};

use posthouse::dev::tenants::SAMPLE_TENANTS;
use posthouse_client::Context;
use rustls::{ClientConfig, version::TLS13};

use super::{tally::Tally, tokens};
use crate::harness::{
    site::{Credentials, Site, TAXATION},
    tls,
};

/// A queue that is last in the order of names.
pub(super) const LAST_QUEUE: &str = "zz-last";

/// A server, and an attacker who has a certificate and a token of a tenant.
#[derive(Clone)]
pub struct Target {
    /// The server's address.
    pub listen: SocketAddr,
    /// TLS with the attacker's certificate.
    pub citizen: Arc<ClientConfig>,
    /// TLS without a certificate.
    pub stranger: Arc<ClientConfig>,
    /// A token with every right of the tenant.
    pub token: Arc<str>,
    /// A token with a right on one queue.
    pub narrow: Arc<str>,
    /// The certificate, with the first of these tokens.
    pub credentials: Arc<Credentials>,
    /// Tokens that the tenant's issuer did not sign.
    pub forged: Arc<Forged>,
    /// The attacker's context for the client crate.
    pub context: Context,
    /// The counts of the attack.
    pub tally: Arc<Tally>,
    /// The seed of all that is random.
    pub seed: u64,
}

/// Tokens that are correct but for their signature.
pub struct Forged {
    /// Signed as the issuer signs.
    pub eddsa: String,
    /// Signed as with the key that [`super::add_rsa_key`] adds; RSA takes longer to verify.
    pub ps256: String,
}

impl Target {
    /// The server of a site, for an attacker of the tenant [`TAXATION`].
    pub fn of(site: &Site, seed: u64) -> Self {
        let credentials = site.credentials(TAXATION);
        let claims = site.claims(TAXATION, &credentials.certificate);
        let forged = Forged {
            eddsa: tokens::with_another_signature(&credentials.token),
            ps256: tokens::as_if_by_rsa(&claims),
        };
        let mut narrow = claims;
        narrow.scope = format!("posthouse:manage:{TAXATION}/{}/{LAST_QUEUE}", department());
        Self {
            listen: site.listen(),
            citizen: Arc::new(tls::config(site, &[&TLS13], Some(&credentials.certificate))),
            stranger: Arc::new(tls::config(site, &[&TLS13], None)),
            token: credentials.token.as_str().into(),
            narrow: site.mint(TAXATION, &narrow).into(),
            forged: Arc::new(forged),
            context: Context::load(site.write_context(TAXATION, &credentials)).unwrap(),
            tally: Arc::default(),
            credentials: Arc::new(credentials),
            seed,
        }
    }

    /// A target with new counts.
    pub fn afresh(&self) -> Self {
        Self { tally: Arc::default(), ..self.clone() }
    }

    /// The attacker's department.
    pub fn department() -> String {
        format!("tenants/{TAXATION}/departments/{}", department())
    }

    /// A queue of the attacker's department.
    pub fn queue(name: &str) -> String {
        format!("{}/queues/{name}", Self::department())
    }
}

fn department() -> &'static str {
    let sample = SAMPLE_TENANTS.iter().find(|sample| sample.name == TAXATION).unwrap();
    sample.departments[0]
}

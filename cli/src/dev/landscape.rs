//! The contents of the folder: created if missing, otherwise kept.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use time::OffsetDateTime;

use super::{
    DevError, SERVER_NAME, TOKEN_LIFETIME,
    authority::{Authority, Issued, Leaf, thumbprint},
    config::{issuer_url, serve_config},
    context::context,
    folder::Folder,
    spiffe_id,
    tenants::SampleTenant,
    token::{Algorithm, Claims, Issuer},
};

/// Validity of certificates: a server warns of client certificates for more than a year.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// At a start, certificates that expire sooner than this are issued again.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A throwaway server's folder with its sample tenants.
pub struct Landscape {
    folder: Folder,
    tenants: &'static [SampleTenant],
}

impl Landscape {
    /// Creates what is missing, and writes the configuration and the contexts for this address.
    pub fn prepare(
        root: &Path,
        listen: SocketAddr,
        tenants: &'static [SampleTenant],
    ) -> Result<Self, DevError> {
        if !listen.ip().is_loopback() {
            return Err(DevError::NotLoopback(listen));
        }
        if listen.port() == 0 {
            return Err(DevError::NoPort);
        }
        let landscape = Self { folder: Folder::open(root)?, tenants };
        for name in ["authorities", "issuers", "contexts", "data"] {
            landscape.folder.make(name)?;
        }
        landscape.folder.check_within("data")?;
        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST), listen.ip()];
        let server = Leaf::server(&[SERVER_NAME], &addresses);
        landscape.certificate("server-authority", "Posthouse throwaway server", "server", &server)?;
        for tenant in tenants {
            let name = tenant.name;
            let (authority, client) = (format!("authorities/{name}"), format!("contexts/{name}"));
            let common_name = format!("Posthouse throwaway clients of {name}");
            landscape.certificate(&authority, &common_name, &client, &Leaf::client(&spiffe_id(name)))?;
            let issuer = landscape.issuer(name)?;
            landscape.folder.write(&format!("issuers/{name}.jwks.json"), &issuer.key_set())?;
            landscape.folder.write(&format!("contexts/{name}.toml"), &context(name, listen)?)?;
        }
        landscape.mint_tokens()?;
        landscape.folder.write("posthouse.toml", &serve_config(listen, tenants)?)?;
        Ok(landscape)
    }

    /// A warning about the folders above, for the user.
    pub fn warning(&self) -> Option<&str> {
        self.folder.warning()
    }

    /// Path of the server's configuration.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path("posthouse.toml")
    }

    /// Paths of the contexts, one per tenant.
    pub fn context_paths(&self) -> Vec<PathBuf> {
        let path = |tenant: &SampleTenant| self.folder.path(&format!("contexts/{}.toml", tenant.name));
        self.tenants.iter().map(path).collect()
    }

    /// Writes a new token into every context.
    pub fn mint_tokens(&self) -> Result<(), DevError> {
        for SampleTenant { name, .. } in self.tenants {
            let certificate = self.folder.read(&format!("contexts/{name}.pem"))?.unwrap_or_default();
            let issuer = self.issuer(name)?;
            let bound_to = thumbprint(&certificate)?;
            let claims = Claims::bound(&issuer, name, &spiffe_id(name), &bound_to, TOKEN_LIFETIME);
            self.folder.write(&format!("contexts/{name}.token"), &issuer.mint(&claims)?)?;
        }
        Ok(())
    }

    /// Makes sure that an authority and a certificate of it exist, each as `NAME.pem` and `NAME.key`.
    fn certificate(
        &self,
        authority_name: &str,
        common_name: &str,
        leaf_name: &str,
        leaf: &Leaf,
    ) -> Result<(), DevError> {
        let stored = self.pair(authority_name)?;
        let is_new = stored.is_none();
        let authority = match stored {
            Some(stored) => Authority::load(common_name, &stored.certificate_pem, &stored.key_pem)?,
            None => {
                let authority = Authority::new(common_name)?;
                self.write_pair(authority_name, authority.certificate_pem(), authority.key_pem())?;
                authority
            }
        };
        if is_new || self.pair(leaf_name)?.is_none_or(|pair| pair.ends_within(RENEWED_BEFORE)) {
            let issued =
                authority.issue(&Leaf { not_after: OffsetDateTime::now_utc() + VALIDITY, ..leaf.clone() })?;
            self.write_pair(leaf_name, &issued.certificate_pem, &issued.key_pem)?;
        }
        Ok(())
    }

    fn pair(&self, name: &str) -> Result<Option<Issued>, DevError> {
        let certificate_pem = self.folder.read(&format!("{name}.pem"))?;
        let key_pem = self.folder.read(&format!("{name}.key"))?;
        Ok(certificate_pem.zip(key_pem).map(|(certificate_pem, key_pem)| Issued { certificate_pem, key_pem }))
    }

    fn write_pair(&self, name: &str, certificate_pem: &str, key_pem: &str) -> Result<(), DevError> {
        self.folder.write(&format!("{name}.key"), key_pem)?;
        self.folder.write(&format!("{name}.pem"), certificate_pem)
    }

    fn issuer(&self, tenant: &str) -> Result<Issuer, DevError> {
        let (file, url) = (format!("issuers/{tenant}.key"), issuer_url(tenant));
        if let Some(key_pem) = self.folder.read(&file)? {
            return Ok(Issuer::load(&url, &key_pem)?);
        }
        let issuer = Issuer::new(&url, Algorithm::EdDsa)?;
        self.folder.write(&file, &issuer.key_pem())?;
        Ok(issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tenants::SAMPLE_TENANTS, *};
    use std::fs;

    const LISTEN: &str = "127.0.0.1:7443";

    fn keys(root: &Path) -> Vec<String> {
        let names =
            ["server", "server-authority", "authorities/taxation", "issuers/taxation", "contexts/taxation"];
        names.iter().map(|name| fs::read_to_string(root.join(format!("{name}.key"))).unwrap()).collect()
    }

    #[test]
    fn a_restart_keeps_the_keys_and_mints_new_tokens() {
        let temporary = tempfile::tempdir().unwrap();
        let token = || fs::read_to_string(temporary.path().join("contexts/taxation.token")).unwrap();
        drop(Landscape::prepare(temporary.path(), LISTEN.parse().unwrap(), SAMPLE_TENANTS).unwrap());
        let (before, first_token) = (keys(temporary.path()), token());
        drop(Landscape::prepare(temporary.path(), LISTEN.parse().unwrap(), SAMPLE_TENANTS).unwrap());
        assert_eq!(keys(temporary.path()), before);
        assert_ne!(token(), first_token);
    }

    #[test]
    fn other_machines_are_kept_out() {
        let temporary = tempfile::tempdir().unwrap();
        for listen in ["0.0.0.0:7443", "[::]:7443", "192.0.2.1:7443"] {
            let refused = Landscape::prepare(temporary.path(), listen.parse().unwrap(), SAMPLE_TENANTS);
            assert!(matches!(refused, Err(DevError::NotLoopback(_))), "{listen}");
        }
    }

    #[test]
    fn the_server_and_the_client_accept_what_is_written() {
        let temporary = tempfile::tempdir().unwrap();
        let landscape =
            Landscape::prepare(temporary.path(), LISTEN.parse().unwrap(), SAMPLE_TENANTS).unwrap();
        let config = posthouse_server::config::Config::load(&landscape.config_path()).unwrap();
        assert_eq!(config.tenants.len(), SAMPLE_TENANTS.len());
        for path in landscape.context_paths() {
            posthouse_client::Context::load(path).unwrap();
        }
    }

    #[test]
    fn every_tenant_has_a_context() {
        let temporary = tempfile::tempdir().unwrap();
        let landscape =
            Landscape::prepare(temporary.path(), LISTEN.parse().unwrap(), SAMPLE_TENANTS).unwrap();
        assert_eq!(landscape.context_paths().len(), SAMPLE_TENANTS.len());
        for path in landscape.context_paths() {
            let context: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
            for key in ["authority", "certificate", "key", "token_file"] {
                let file = path.parent().unwrap().join(context[key].as_str().unwrap());
                assert!(file.exists(), "{key} of {}", path.display());
            }
        }
    }
}

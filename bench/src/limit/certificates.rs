//! An authority and one certificate each for a server and a client, as files, and the TLS settings that use them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use posthouse::dev::authority::{Authority, Leaf};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

const AUTHORITY: &str = "authority.pem";
const SERVER: [&str; 2] = ["server.pem", "server.key"];
const CLIENT: [&str; 2] = ["client.pem", "client.key"];
const ALPN_H2: &[u8] = b"h2";

/// Writes the certificates and keys of a new authority into this folder.
pub fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let authority = Authority::new("authority of the limits")?;
    let server = Leaf::server(&["localhost"], &[IpAddr::from(Ipv4Addr::LOCALHOST)]);
    let client = Leaf::client("spiffe://posthouse.bench/limits");
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put(AUTHORITY, authority.certificate_pem())?;
    for (leaf, [certificate, key]) in [(server, SERVER), (client, CLIENT)] {
        let issued = authority.issue(&leaf)?;
        put(certificate, &issued.certificate_pem)?;
        put(key, &issued.key_pem)?;
    }
    Ok(())
}

/// TLS of the server: like Posthouse's, version 1.3 with client certificates and without resumption.
pub fn server(folder: &Path) -> Result<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(folder)?), provider());
    let (certificate, key) = leaf(folder, SERVER)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// TLS of the client.
pub fn client(folder: &Path) -> Result<ClientConfig> {
    let (certificate, key) = leaf(folder, CLIENT)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(folder)?)
        .with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(folder: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&folder.join(AUTHORITY))?)?;
    Ok(roots)
}

fn leaf(folder: &Path, [chain, key]: [&str; 2]) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
    let path = folder.join(key);
    let key =
        PrivateKeyDer::from_pem_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((certificate(&folder.join(chain))?, key))
}

fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_file(path).with_context(|| format!("cannot read {}", path.display()))
}

//! A throwaway authority, its certificates, and a context that uses them.

use std::{fs, path::Path, sync::Arc};

use posthouse_client::Context;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tempfile::TempDir;

pub struct Pki {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
}

impl Pki {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let pki = Self { folder, issuer: Issuer::new(params, key), authority: certificate.der().clone() };
        pki.write_client_certificate();
        pki.write_token("good-token");
        pki
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write_token(&self, token: &str) {
        let (new, path) = (self.path().join("token.new"), self.path().join("token"));
        fs::write(&new, token).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub fn write_client_certificate(&self) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let uri = "spiffe://posthouse.internal/tenant/t/service";
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path().join("client.pem"), certificate.pem()).unwrap();
        fs::write(self.path().join("client.key"), key.serialize_pem()).unwrap();
    }

    pub fn context(&self, endpoint: &str) -> Context {
        let text = format!(
            "endpoint = '{endpoint}'\nserver_name = 'localhost'\nauthority = 'ca.pem'\ncertificate = 'client.pem'\n\
             key = 'client.key'\ntoken_file = 'token'\ntenant = 't'\n"
        );
        let path = self.path().join("context.toml");
        fs::write(&path, text).unwrap();
        Context::load(path).unwrap()
    }

    pub fn server_tls(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use posthouse_text::{key_fault, pem_fault};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::TLS13,
};
use tokio::time::sleep;

use super::Callback;
use crate::error::ContextError;

/// Certificate and key are two files, and one may be read before it is renewed and the other after. So a pair that does
/// not fit is read again.
const READS: u32 = 3;
const BETWEEN_READS: Duration = Duration::from_millis(100);

/// The certificates and key of a client, as PEM in memory. The key is never printed.
#[derive(Clone)]
pub struct TlsMaterial {
    authority: Arc<[u8]>,
    certificate: Arc<[u8]>,
    key: Arc<[u8]>,
}

/// The source of certificates and key.
#[derive(Clone)]
pub(crate) enum TlsSource {
    Files { authority: PathBuf, certificate: PathBuf, key: PathBuf },
    Static(TlsMaterial),
    Callback(Callback<TlsMaterial>),
}

/// A part of the material, and its file, for errors.
#[derive(Clone, Copy, Debug)]
struct PemPart<'a> {
    name: &'static str,
    file: Option<&'a Path>,
}

impl TlsMaterial {
    /// Creates it from three PEM texts: the authorities that may sign the server's certificate, this client's
    /// certificate with its chain, and its private key. They are checked at the first connection.
    pub fn from_pem(
        authority: impl Into<Vec<u8>>,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            authority: authority.into().into(),
            certificate: certificate.into().into(),
            key: key.into().into(),
        }
    }
}

impl TlsSource {
    /// Reads the material, for one connection.
    pub(crate) async fn config(&self) -> Result<ClientConfig, ContextError> {
        match self {
            Self::Static(material) => configure(material, [None; 3]),
            Self::Callback(callback) => {
                let material =
                    callback().await.map_err(|error| ContextError::source_failed("certificates", error))?;
                configure(&material, [None; 3])
            }
            Self::Files { authority, certificate, key } => {
                let mut reads = 1;
                loop {
                    let material = TlsMaterial::from_pem(
                        super::read(authority).await?,
                        super::read(certificate).await?,
                        super::read(key).await?,
                    );
                    match configure(&material, [Some(authority), Some(certificate), Some(key)]) {
                        Err(ContextError::Pem { .. }) if reads < READS => reads += 1,
                        configured => return configured,
                    }
                    sleep(BETWEEN_READS).await;
                }
            }
        }
    }
}

impl PemPart<'_> {
    fn unusable(self, message: &dyn fmt::Display) -> ContextError {
        let message = message.to_string();
        match self.file {
            Some(path) => ContextError::Pem { path: path.to_owned(), message },
            None => ContextError::Material { part: self.name, message },
        }
    }
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { authority, certificate, key } => f
                .debug_struct("Files")
                .field("authority", authority)
                .field("certificate", certificate)
                .field("key", key)
                .finish(),
            Self::Static(_) => f.write_str("Static"),
            Self::Callback(_) => f.write_str("Callback"),
        }
    }
}

fn configure(material: &TlsMaterial, files: [Option<&PathBuf>; 3]) -> Result<ClientConfig, ContextError> {
    let [authority, certificate, key] = files.map(|file| file.map(PathBuf::as_path));
    let authority = PemPart { name: "authority", file: authority };
    let certificate = PemPart { name: "certificate", file: certificate };
    let key = PemPart { name: "key", file: key };
    let mut roots = RootCertStore::empty();
    for root in certificates(&material.authority, authority)? {
        roots.add(root).map_err(|error| authority.unusable(&error))?;
    }
    let chain = certificates(&material.certificate, certificate)?;
    let private = posthouse_text::pem(&material.key).map_err(|error| key.unusable(&error))?;
    let private = PrivateKeyDer::from_pem_slice(&private)
        .map_err(|error| key.unusable(&key_fault(&error, &private)))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| certificate.unusable(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .map_err(|error| certificate.unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(pem: &[u8], part: PemPart<'_>) -> Result<Vec<CertificateDer<'static>>, ContextError> {
    let pem = posthouse_text::pem(pem).map_err(|error| part.unusable(&error))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| part.unusable(&pem_fault(&error)))?;
    if certificates.is_empty() {
        return Err(part.unusable(&"it holds no certificate"));
    }
    Ok(certificates)
}

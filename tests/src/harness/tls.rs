//! TLS clients of any version, with any certificate or none.

use std::{io, sync::Arc};

use posthouse::dev::{SERVER_NAME, authority::Issued};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion, client::Resumption,
    crypto::aws_lc_rs::default_provider,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::site::Site;

/// A client that trusts the site's server, with these versions and this certificate.
pub fn config(
    site: &Site,
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&Issued>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(site.server_authority().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        Some(issued) => {
            let chain = vec![issued.certificate_der().unwrap()];
            builder.with_client_auth_cert(chain, issued.key_der().unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// Connects.
pub async fn connect(site: &Site, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(site.listen()).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// The alert with which the server refuses this client, or what it did instead. With TLS 1.3 the handshake is over for
/// a client before the server has checked its certificate, so the alert may arrive with the first read.
pub async fn refusal(site: &Site, config: ClientConfig) -> Result<AlertDescription, String> {
    let error = match connect(site, config).await {
        Err(error) => error,
        Ok(mut stream) => match stream.read(&mut [0; 64]).await {
            Ok(count) => return Err(format!("the server sent {count} bytes")),
            Err(error) => error,
        },
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Ok(*alert),
        _ => Err(error.to_string()),
    }
}

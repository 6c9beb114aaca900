//! Certificate authorities: one for the server, and one per tenant for its clients.
//!
//! Every property of a certificate is a field of [`Leaf`], so that tests can make certificates that must be refused.

use std::{net::IpAddr, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use posthouse_server::identity::not_after;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use time::{Duration, OffsetDateTime};

/// Validity of an authority's certificate, and of the certificates it issues unless they say otherwise.
const VALIDITY: Duration = Duration::days(3650);
/// Begin of the validity before now, for clocks that differ.
const BACKDATE: Duration = Duration::hours(1);

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate library refused its input.
    #[error("making a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A stored certificate or key is damaged.
    #[error("the certificate or key cannot be read: {}", posthouse_text::pem_fault(.0))]
    Pem(#[from] rustls_pki_types::pem::Error),
}

/// A certificate authority with its key.
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with a new key. The name is the common name of its certificate.
    pub fn new(name: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let params = authority_params(name);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// An authority that [`Authority::new`] made with the same name, from its stored files.
    pub fn load(name: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        CertificateDer::from_pem_slice(certificate_pem.as_bytes())?;
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            issuer: Issuer::new(authority_params(name), key),
        })
    }

    /// Certificate of the authority, which the other side trusts.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Private key of the authority. Whoever has it can issue any certificate.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Issues a certificate with a new key.
    pub fn issue(&self, leaf: &Leaf) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = leaf.params()?.signed_by(&key, &self.issuer)?;
        Ok(Issued::of(&certificate, &key))
    }
}

/// Properties of a certificate of an end entity.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Common name, which decides nothing.
    pub common_name: String,
    /// URI names. A client has exactly one: its SPIFFE id.
    pub uris: Vec<String>,
    /// DNS names, for a server.
    pub dns_names: Vec<String>,
    /// IP addresses, for a server.
    pub addresses: Vec<IpAddr>,
    /// Allowed uses of the key.
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    /// Begin of the validity.
    pub not_before: OffsetDateTime,
    /// End of the validity.
    pub not_after: OffsetDateTime,
}

impl Leaf {
    /// A client's certificate with this SPIFFE id.
    pub fn client(spiffe_id: &str) -> Self {
        let uris = vec![spiffe_id.to_owned()];
        Self { uris, ..Self::empty("posthouse client", ExtendedKeyUsagePurpose::ClientAuth) }
    }

    /// A server's certificate for these names and addresses.
    pub fn server(dns_names: &[&str], addresses: &[IpAddr]) -> Self {
        let dns_names = dns_names.iter().map(|&name| name.to_owned()).collect();
        let addresses = addresses.to_vec();
        Self { dns_names, addresses, ..Self::empty("posthouse server", ExtendedKeyUsagePurpose::ServerAuth) }
    }

    /// A certificate without names.
    fn empty(common_name: &str, usage: ExtendedKeyUsagePurpose) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            common_name: common_name.to_owned(),
            uris: Vec::new(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            usages: vec![usage],
            not_before: now - BACKDATE,
            not_after: now + VALIDITY,
        }
    }

    /// The parameters for the certificate library.
    fn params(&self) -> Result<CertificateParams, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for name in &self.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&self.usages);
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (self.not_before, self.not_after);
        Ok(params)
    }
}

/// A certificate and its private key, both as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: String,
}

impl Issued {
    /// A certificate signed by its own key instead of an authority, which a server must refuse.
    pub fn self_signed(leaf: &Leaf) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = leaf.params()?.self_signed(&key)?;
        Ok(Self::of(&certificate, &key))
    }

    fn of(certificate: &Certificate, key: &KeyPair) -> Self {
        Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// The certificate as DER.
    pub fn certificate_der(&self) -> Result<CertificateDer<'static>, AuthorityError> {
        Ok(CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())?)
    }

    /// The private key as DER.
    pub fn key_der(&self) -> Result<PrivateKeyDer<'static>, AuthorityError> {
        Ok(PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?)
    }

    /// Whether the certificate expires within this time. One that cannot be read counts as expired.
    pub fn ends_within(&self, time: std::time::Duration) -> bool {
        let end = self.certificate_der().ok().and_then(|der| not_after(&der));
        end.is_none_or(|end| end <= SystemTime::now() + time)
    }

    /// The value of `cnf` in a token that is bound to this certificate.
    pub fn thumbprint(&self) -> Result<String, AuthorityError> {
        thumbprint(&self.certificate_pem)
    }
}

/// `x5t#S256` of RFC 8705: the SHA-256 of the certificate's DER, in base64url.
pub fn thumbprint(certificate_pem: &str) -> Result<String, AuthorityError> {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    Ok(URL_SAFE_NO_PAD.encode(digest.as_ref()))
}

/// Deterministic by name, except for the validity, so that a stored authority continues under its stored certificate.
fn authority_params(name: &str) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (now - BACKDATE, now + VALIDITY);
    params
}
